"""A sweep arrives at one table, however often it is stopped; the largest run is foretold, not fitted."""

import csv
import json

import pytest

from base.errors import MetrolineError
from pipelines.tuning import space
from pipelines.tuning.scaling import sweep as sweeping
from pipelines.tuning.scaling.sweep import sweep
from tests.pipelines.training import small_runs

TEXTS = ["model.width=choice(16, 32, 48)", "train.steps=choice(4, 8, 12)", "train.warmup=choice(1, 2)"]
FILES = ("table.csv", "law.json", "scaling.png")


def run(root, texts=TEXTS[:2]):
    lines = []
    return sweep("mini", root, space.parse(texts), lines.append), lines


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    paths = small_runs.project(root)
    for path in paths.prepared.glob("test*"):
        path.unlink()  # whoever opens it fails
    found, lines = run(root)
    return root, found, lines


def test_every_place_once_and_the_largest_foretold(whole):
    _, found, lines = whole
    with (found.folder / "table.csv").open() as file:
        table = list(csv.DictReader(file))
    assert len(lines) == len(table) == 9
    assert [(row["model.width"], row["train.steps"]) for row in table[:2]] == [("16", "4"), ("16", "8")]
    largest = max(table, key=lambda row: int(row["parameters"]) * int(row["targets"]))
    assert (largest["model.width"], largest["train.steps"]) == ("48", "12")
    assert found.held.loss == pytest.approx(float(largest["valid_loss"]), rel=1e-4)
    assert found.held not in found.runs
    kept = json.loads((found.folder / "law.json").read_text())
    assert kept["foretold"] == found.law.loss(found.held.parameters, found.held.targets)
    assert (found.folder / "scaling.png").read_bytes().startswith(b"\x89PNG")


def test_stopped_it_goes_on_to_the_same_bytes(whole, tmp_path, monkeypatch):
    _, found, _ = whole
    small_runs.project(tmp_path)
    trained, train = [], sweeping._run

    def stopping(number, *rest):
        if number == 4 and not trained:
            trained.append(number)
            raise KeyboardInterrupt
        return train(number, *rest)

    monkeypatch.setattr(sweeping, "_run", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    again, _ = run(tmp_path)
    for name in FILES:
        assert (again.folder / name).read_bytes() == (found.folder / name).read_bytes(), name


def test_bad_sweeps(whole):
    root, _, _ = whole
    with pytest.raises(MetrolineError, match="6 runs, and a law with one run to foretell takes 7"):
        run(root, ["model.width=choice(16, 32)", "train.steps=choice(4, 8, 12)"])
    with pytest.raises(MetrolineError, match="a grid needs single values"):
        run(root, ["train.lr=loguniform(1e-4, 0.1)"])
    with pytest.raises(MetrolineError, match=r"no law: all runs have [\d,]+ parameters"):
        run(root, [*TEXTS[1:], "train.lr=choice(0.001, 0.002)"])
