"""What prepare refuses, leaves out, and fits on train alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from base.errors import MetrolineError
from base.files import read_json, sha256, write_json
from data.records import Records
from data.signature import Signature
from pipelines.recipe import kinds
from pipelines.recipe.schema import Recipe
from pipelines.tasks.supervised.examples import Examples
from pipelines.tasks.supervised.fit import fit


def recipe(kind: str = "classification", **changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "name": "rows",
        "description": "rows",
        "licence": "none",
        "source": {"kind": "file", "path": "rows", "sha256": "0" * 64},
        "data": {"kind": "table", "target": "y", "drop": ["n"], "bins": 4},
        "split": {"method": "given", "duplicates": "drop"},
        "task": {"kind": kind},
        "model": {"kind": "mlp"},
    }
    return Recipe.of(values | changes)


def rows(count: int, seed: int, **extra: Any) -> list[dict[str, Any]]:
    generator = np.random.default_rng(seed)
    return [
        {"n": 1000 * seed + i, "x": round(float(generator.normal(seed)), 6), "c": "ab"[i % 2], "y": "class 10" if i % 3
         else "class 9", **extra} for i in range(count)
    ]  # fmt: skip


def prepare(folder: Path, made: Recipe, **splits: list[dict[str, Any]]) -> Path:
    raw = folder / "raw"
    (raw / "files").mkdir(parents=True)
    for name, found in splits.items():
        lines = "".join(json.dumps(row) + "\n" for row in found)
        (raw / "files" / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    hashes = {f"{name}.jsonl": {"sha256": sha256(raw / f"files/{name}.jsonl")} for name in splits}
    write_json(raw / "source.json", {"kind": "file", "files": hashes})
    kinds.task(made.task.kind)(made).prepare(raw, folder / "prepared", None)
    return folder / "prepared"


def test_labels_are_stored_in_their_natural_order(tmp_path: Path) -> None:
    prepared = prepare(tmp_path, recipe(), train=rows(60, 0), valid=rows(9, 1), test=rows(9, 2))
    signature = Signature.model_validate(read_json(prepared / "index.json")["signature"])
    assert signature.outputs[0].labels == ("class 9", "class 10")  # type: ignore[union-attr]
    assert signature.task == "tabular-classification"
    assert Records(prepared, "train").targets[:3].tolist() == [0, 1, 1]


def test_what_is_fitted_knows_train_alone(tmp_path: Path) -> None:
    prepared = prepare(tmp_path, recipe(), train=rows(60, 0), valid=rows(9, 50), test=rows(9, 90))
    fitted = read_json(prepared / "index.json")["fitted"]
    values = [row["x"] for row in rows(60, 0)]
    assert fitted["mean"] == pytest.approx([np.mean(values)])
    assert fitted["edges"][0][-1] == pytest.approx(max(values))


@pytest.mark.parametrize(("edit", "message"), [("x\n", "has changed since it was fetched"), (None, "is missing")])
def test_a_raw_file_that_is_not_what_was_fetched_is_refused(tmp_path: Path, edit: str | None, message: str) -> None:
    prepare(tmp_path, recipe(), train=rows(60, 0), valid=rows(9, 1), test=rows(9, 2))
    path = tmp_path / "raw/files/test.jsonl"
    path.unlink() if edit is None else path.write_text(edit)
    with pytest.raises(MetrolineError, match=f"test.jsonl {message}"):
        kinds.task("classification")(recipe()).prepare(tmp_path / "raw", tmp_path / "prepared", None)


def test_a_label_that_only_test_has_is_refused(tmp_path: Path) -> None:
    test = [*rows(9, 2), {"n": 1, "x": 0.1, "c": "a", "y": "class 11"}]
    with pytest.raises(MetrolineError, match=r"class 11.*test only.*test\.jsonl:10"):
        prepare(tmp_path, recipe(), train=rows(60, 0), valid=rows(9, 1), test=test)


def test_a_column_that_is_the_target_is_refused(tmp_path: Path) -> None:
    train = [{**row, "code": {"class 9": 1, "class 10": 2}[row["y"]]} for row in rows(60, 0)]
    with pytest.raises(MetrolineError, match="'code' tells the target"):
        prepare(tmp_path, recipe(), train=train, valid=train[:9], test=train[9:18])


def test_a_row_of_test_leaves_train(tmp_path: Path) -> None:
    prepared = prepare(tmp_path, recipe(), train=[*rows(60, 0), rows(9, 2)[4]], valid=rows(9, 1), test=rows(9, 2))
    index = read_json(prepared / "index.json")["splits"]
    assert index["train"]["records"] == 60
    assert index["train"]["dropped"] == {"in a later split too": 1}


def test_missing_numbers_and_unseen_categories_are_answered(tmp_path: Path) -> None:
    import torch

    from models.common.entries import TableEntry

    train = rows(60, 0)
    train[3]["x"] = None
    test = [{"n": 1, "x": None, "c": "z", "y": "class 9"}, *rows(9, 2)]
    prepared = prepare(tmp_path, recipe(), train=train, valid=rows(9, 1), test=test)
    examples = Examples(prepared, "test")
    assert np.isnan(examples.inputs[0]).any()
    assert examples.inputs[0, 1] == 0
    columns = examples.signature.inputs[0].columns  # type: ignore[union-attr]
    entry = TableEntry(columns, examples.index["fitted"], torch.Generator().manual_seed(0))
    width = entry(torch.from_numpy(examples.inputs))
    assert width.shape == (10, entry.width)
    assert torch.isfinite(width).all()


def test_a_number_missing_for_the_first_time_in_test_names_its_row(tmp_path: Path) -> None:
    test = [*rows(9, 2), {"n": 1, "x": None, "c": "a", "y": "class 9"}]
    with pytest.raises(MetrolineError, match=r"test\.jsonl:10.*x"):
        prepare(tmp_path, recipe(), train=rows(60, 0), valid=rows(9, 1), test=test)


def test_regression_scales_its_target_and_wants_numbers(tmp_path: Path) -> None:
    made = recipe("regression")
    splits = {name: [{**row, "y": 10.0 * row["x"] + row["n"]} for row in rows(count, seed)]
              for name, count, seed in (("train", 60, 0), ("valid", 9, 1), ("test", 9, 2))}  # fmt: skip
    index = read_json(prepare(tmp_path / "good", made, **splits) / "index.json")
    assert index["fitted"]["target_mean"] == pytest.approx([np.mean([row["y"] for row in splits["train"]])])
    splits["train"][5]["y"] = "much"  # type: ignore[assignment]
    with pytest.raises(MetrolineError, match=r"train\.jsonl:6.*much"):
        prepare(tmp_path / "bad", made, **splits)


def test_texts_train_their_tokenizer_on_train_and_long_ones_are_counted(tmp_path: Path) -> None:
    made = recipe(data={"kind": "text", "target": "y", "text": "t", "length": 12, "lowercase": True,
                        "tokenizer": {"kind": "bpe", "vocabulary": 300}})  # fmt: skip
    words = {"class 9": "Good Film", "class 10": "bad film"}
    splits = {name: [{"t": f"{words[row['y']]} {row['n']}", "y": row["y"]} for row in rows(count, seed)]
              for name, count, seed in (("train", 60, 0), ("valid", 9, 1), ("test", 9, 2))}  # fmt: skip
    splits["test"].append({"t": "film " * 40, "y": "class 9"})
    prepared = prepare(tmp_path, made, **splits)
    assert read_json(prepared / "index.json")["splits"]["test"]["dropped"] == {"empty or longer than data.length": 1}
    examples = Examples(prepared, "train")
    assert examples.inputs.dtype == np.int64
    assert (examples.inputs[:, 0] != 0).all()
    upper, lower = (examples.decode(text) for text in (b"GOOD FILM", b"good film"))
    np.testing.assert_array_equal(upper, lower)


def test_few_of_each_label(tmp_path: Path) -> None:
    split = {"method": "given", "duplicates": "drop", "per_class": {"train": 5, "valid": 2}}
    made = recipe(split=split)
    prepared = prepare(tmp_path, made, train=rows(60, 0), valid=rows(30, 1), test=rows(30, 2))
    counts = {name: np.bincount(Records(prepared, name).targets).tolist() for name in ("train", "valid", "test")}
    assert counts == {"train": [5, 5], "valid": [2, 2], "test": [10, 20]}
    splits = read_json(prepared / "index.json")["splits"]
    assert splits["train"]["dropped"] == {"beyond split.per_class": 50}
    assert splits["valid"]["dropped"] == {"beyond split.per_class": 26}
    said = " ".join(kinds.task("regression")(recipe("regression", split=split)).problems())
    assert "split.per_class: a regression has no labels" in said


def test_pixels_are_standardised_as_pretrained_weights_need_them() -> None:
    given = {"kind": "images", "mean": [127], "std": [128]}
    declared, fitted = fit(recipe(data=given).data, [], Path())
    assert fitted == {"mean": [127, 127, 127], "std": [128, 128, 128]}
    assert declared.shape == (32, 32, 3)
    for wrong in ({"mean": [1, 2], "std": [1, 2]}, {"mean": [1]}, {"mean": [1], "std": [0]}):
        with pytest.raises(ValidationError, match=r"one number, or one of each of the 3 channels|greater than 0"):
            recipe(data={"kind": "images", **wrong})
