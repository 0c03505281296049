"""`metroline init` on each kind of own data makes a recipe that runs up to the bundle, and is served."""

import csv
import datetime
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from base.errors import MetrolineError
from base.files import read_json
from data.signature import Signature
from pipelines.evaluation import evaluate
from pipelines.exporting.stage import export
from pipelines.line.dvc import check_recipe
from pipelines.line.stages import STAGES
from pipelines.paths import Paths
from pipelines.recipe.new import create
from pipelines.recipe.own.found import Found
from pipelines.recipe.schema import Recipe
from pipelines.training.stage import train
from serving.app.run import start
from tests.pipelines.tasks.segmentation.small_masks import pair
from tests.pipelines.tasks.segmentation.small_masks import png as grey_png
from tests.pipelines.tasks.supervised.small_images import png
from tests.pipelines.tasks.supervised.small_sounds import tone


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, as the working folder."""
    (tmp_path / "project/pipelines/recipes").mkdir(parents=True)
    (tmp_path / "project/params.yaml").write_text("recipes:\n")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def write_csv(path: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> Path:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(file.getvalue())
    return path


def flats(count: int = 150) -> list[dict[str, Any]]:
    """Rows with a number, a category, a gap written NA, the row's number; classes and an amount."""
    dice, rows = np.random.default_rng(1), []
    for number in range(count):
        size, city = float(dice.uniform(20, 120)), ("Bonn", "Ulm")[int(dice.integers(2))]
        price = 12.5 * size + (200 if city == "Bonn" else 0)
        rows.append({"n": number + 1, "size": f"{size:.3f}", "rooms": "NA" if number % 9 == 0 else number % 4,
                     "city": city, "price": f"{price:.2f}", "kind": "large" if size > 70 else "small"})  # fmt: skip
    return rows


def made(name: str, data: Path, root: Path, **asked: Any) -> tuple[Recipe, Paths, Found]:
    """The recipe that init writes, with fewer steps, up to the bundle."""
    path, found = create(name, data, root, **asked)
    check_recipe(name)  # what `metroline run` asks first
    values = yaml.safe_load(path.read_text())
    values["train"] |= {"steps": 40, "batch": 16, "evaluate_every": 20, "save_every": 40, "device": "cpu"}
    if "references" in type(Recipe.of(values | {"name": name}).evaluate).model_fields:
        values["evaluate"] = {"references": False}
    recipe, paths = Recipe.of(values | {"name": name}), Paths(name, root)
    STAGES["fetch"].function(recipe, paths)
    STAGES["prepare"].function(recipe, paths)
    train(recipe, paths)
    evaluate(recipe, paths)
    export(recipe, paths)
    return recipe, paths, found


def signature(paths: Paths) -> Signature:
    return Signature.load(paths.bundle / "signature.json")


def test_a_table_of_classes_up_to_an_answer(root: Path) -> None:
    rows = [{key: value for key, value in row.items() if key != "price"} for row in flats()]
    recipe, paths, found = made("flats", write_csv(root / "flats.csv", rows, ";"), root, target="kind")
    assert found.said.startswith("150 rows, 3 columns (not n: the row's number); target kind: 2 classes: ")
    assert found.said.endswith(" → classification")
    assert recipe.data.rows.model_dump(include={"delimiter", "missing"}) == {"delimiter": ";", "missing": ("NA",)}
    assert recipe.data.drop == ("n",)
    kinds = {column.name: column.kind for column in signature(paths).inputs[0].columns}  # type: ignore[union-attr]
    assert kinds == {"size": "number", "rooms": "number", "city": "category"}
    assert read_json(paths.metrics)["test"]["accuracy"] > 0.8
    asked = {"inputs": {"size": 110, "rooms": None, "city": "Ulm"}}
    with start(paths.bundle, port=0, log=root / "serve.log") as server:
        server.wait_ready()
        answer = httpx.post(f"{server.url}/v1/models/flats/predict", json=asked, timeout=30, trust_env=False)
    assert (answer.status_code, answer.json()[0]["label"]) == (200, "large"), answer.text


def test_a_table_of_amounts(root: Path) -> None:
    rows = [{key: value for key, value in row.items() if key != "kind"} for row in flats()]
    recipe, paths, found = made("prices", write_csv(root / "flats.csv", rows), root, target="price")
    assert " → regression" in found.said
    assert (recipe.task.kind, recipe.task.name) == ("regression", "price")
    metrics = read_json(paths.metrics)
    assert metrics["test"]["rmse"] < metrics["baselines"]["floor_rmse"]


def days(count: int = 200) -> list[dict[str, Any]]:
    """Sales by day with a wave of a week; two days are missing, one has no number."""
    dice, rows = np.random.default_rng(4), []
    for number in range(count):
        amount = 100 + 20 * np.sin(number / 7 * 2 * np.pi) + dice.normal()
        day = datetime.date(2024, 1, 1) + datetime.timedelta(number)
        rows.append({"shop": "A", "day": str(day), "amount": "" if number == 20 else f"{amount:.2f}"})
    return rows[:90] + rows[92:]


def test_a_series(root: Path) -> None:
    data = write_csv(root / "sales.csv", days(), ";")
    recipe, paths, found = made("sales", data, root, target="amount", task="forecasting")
    assert found.said == "200 steps by day, 1d apart, 2 of them missing; amount → forecasting, 7 steps ahead of 50"
    assert (recipe.split.by, recipe.data.columns, recipe.data.gaps) == ("day", ("amount",), "fill")
    assert signature(paths).outputs[0].shape == (7, 1, 4)
    assert read_json(paths.metrics)["test"]["mse"] < read_json(paths.metrics)["baselines"]["repeat_last_mse"]


@pytest.mark.parametrize(
    ("rows", "asked", "problem"),
    [
        (days(), {"target": "amunt"}, "no column 'amunt'"),
        (days(), {"target": "shop"}, "shop has 'A', which is no number"),
        (days(), {}, "say which one to predict: --target COLUMN"),
        (days(), {"target": "amount", "drop": ["shop"]}, "has no --drop"),
        ([{"a": 1, "b": 2}] * 99, {"target": "b"}, "no column of times among a, b"),
        (days() + days(), {"target": "amount"}, "have the same time 2024-01-01"),
        (days(30), {"target": "amount"}, "a series of 30 steps"),
    ],
)
def test_what_is_no_series(root: Path, rows: list[dict[str, Any]], asked: dict[str, Any], problem: str) -> None:
    data = write_csv(root / "sales.csv", rows)
    with pytest.raises(MetrolineError) as caught:
        create("sales", data, root, task="forecasting", **asked)
    assert problem in str(caught.value)


def test_texts_with_a_class(root: Path) -> None:
    dice = np.random.default_rng(2)
    words = {"glad": ("good", "bright", "warm"), "sad": ("bad", "dark", "cold")}
    rows = []
    for number in range(160):
        mood = ("glad", "sad")[number % 2]
        said = [*(str(dice.choice(words[mood])) for _ in range(4)), f"day {number}"]
        rows.append({"text": " ".join(said), "mood": mood})
    recipe, paths, found = made("moods", write_csv(root / "moods.tsv", rows, "\t"), root, target="mood")
    assert found.said == "160 texts in text; target mood: 2 classes: glad 80, sad 80 → classification"
    assert signature(paths).task == "text-classification"
    assert recipe.data.length == 32
    assert read_json(paths.metrics)["test"]["accuracy"] > 0.8


@pytest.mark.parametrize("split", ["hash", "given"])
def test_images_by_class(root: Path, split: str) -> None:
    dice = np.random.default_rng(3)
    for number in range(100):
        label = "lying" if number % 2 else "standing"
        part = "" if split == "hash" else "test/" if number % 5 == 0 else "train/"
        path = root / f"bars/{part}{label}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(label, dice, (12, 14)))
    recipe, paths, found = made("bars", root / "bars", root)
    assert found.said == "2 classes of colour images, seen at 14 x 12: lying 50, standing 50 → classification"
    assert recipe.split.method == split
    assert signature(paths).inputs[0].shape == (12, 14, 3)
    assert signature(paths).outputs[0].labels == ("lying", "standing")  # type: ignore[union-attr]
    assert read_json(paths.metrics)["test"]["accuracy"] >= 0.5


def test_clips_by_class(root: Path) -> None:
    for number in range(60):
        path = root / f"tones/{('low', 'high')[number % 2]}/{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tone((300, 900)[number % 2] + number, 0.2 + number / 200, 8000))
    recipe, paths, found = made("tones", root / "tones", root)
    assert found.said == "2 classes of clips of up to 0.5 s, heard at 8,000 Hz: high 30, low 30 → classification"
    assert (recipe.data.seconds, recipe.data.window) == (1.0, 0.5)
    assert signature(paths).inputs[0].rate == 8000  # type: ignore[union-attr]
    assert read_json(paths.metrics)["test"]["accuracy"] >= 0.5
    (root / "tones/low/broken.wav").write_bytes(b"RIFF")
    with pytest.raises(MetrolineError, match=r"broken.wav: cannot be read as WAV or FLAC"):
        create("more", root / "tones", root)


def test_images_with_masks(root: Path) -> None:
    dice = np.random.default_rng(6)
    for number in range(30):
        for kind, grey in zip(("images", "masks"), pair(dice), strict=True):
            path = root / f"discs/{kind}/{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(grey_png(grey))
    recipe, paths, found = made("discs", root / "discs", root)
    assert found.said == "30 images with masks of the grey values 0, 255, seen at 32 x 32 → segmentation"
    assert recipe.data.labels == {"grey-0": 0, "grey-255": 255}
    assert signature(paths).outputs[0].shape == (2, 32, 32)
    (root / "discs/images/99.png").write_bytes(grey_png(np.zeros((8, 8))))
    with pytest.raises(MetrolineError, match=r"images/99.png: no mask of this name"):
        create("more", root / "discs", root, task="segmentation")
    for kind in ("images", "masks"):
        (root / f"discs/second/{kind}").mkdir(parents=True)
        (root / f"discs/second/{kind}/7.png").write_bytes((root / f"discs/{kind}/7.png").read_bytes())
    with pytest.raises(MetrolineError, match=r"7.png and .*7.png have one name"):
        create("more", root / "discs", root, task="segmentation")


@pytest.mark.parametrize("kind", ["txt", "jsonl"])
def test_text_is_for_a_language_model(root: Path, kind: str, write: Callable[..., None]) -> None:
    write(root, kind)
    path, found = create("words", root / f"words.{kind}", root)
    recipe = Recipe.of({"name": "words", **yaml.safe_load(path.read_text())})
    assert recipe.task.kind == "language-modelling"
    assert (found.said == "") == (kind == "txt")
    paths = Paths("words", root)
    STAGES["fetch"].function(recipe, paths)
    STAGES["prepare"].function(recipe, paths)
    assert read_json(paths.prepared / "index.json")["data_hash"]


@pytest.fixture
def write() -> Callable[[Path, str], None]:
    """One text file, or rows with a column `text`."""

    def made(root: Path, kind: str) -> None:
        texts = [f"the {number} roads of the {number * 7} towns lead to the sea" for number in range(120)]
        body = "\n\n".join(texts) if kind == "txt" else "".join(f'{{"text": "{each}"}}\n' for each in texts)
        (root / f"words.{kind}").write_text(body)

    return made
