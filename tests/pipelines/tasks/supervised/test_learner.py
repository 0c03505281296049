"""What a supervised learner is judged by while it trains, and that the step which is best by it is kept."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from base.errors import MetrolineError
from base.files import read_json
from pipelines.evaluation import evaluate
from pipelines.paths import Paths
from pipelines.recipe.schema import Recipe
from pipelines.tasks.interface import Judged
from pipelines.tasks.supervised.learner import Supervised
from pipelines.training.curves import read_curves
from pipelines.training.stage import train
from tests.pipelines.tasks.supervised.test_prepare import prepare, recipe

TRAIN = {"steps": 24, "batch": 32, "lr": 0.05, "evaluate_every": 4, "precision": "fp32", "compile": "off"}


def noisy(count: int, seed: int, kind: str) -> list[dict[str, Any]]:
    """Rows whose target x tells in part."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=count)
    hidden = x + generator.normal(size=count)
    targets = [float(value) for value in hidden] if kind == "regression" else ["yes" if h > 1 else "no" for h in hidden]
    return [{"n": i, "x": float(x[i]), "c": "ab"[i % 2], "y": targets[i]} for i in range(count)]


def trained(folder: Path, made: Recipe) -> Paths:
    """A line up to its checkpoint."""
    paths = Paths(made.name, folder)
    rows = {split: noisy(count, seed, made.task.kind) for split, count, seed in (("train", 400, 0), ("valid", 150, 1))}
    prepared = prepare(folder / "line", made, **rows, test=noisy(150, 2, made.task.kind))
    paths.prepared.parent.mkdir(parents=True)
    prepared.rename(paths.prepared)
    train(made, paths)
    return paths


@pytest.mark.parametrize(
    ("kind", "primary", "metric", "best"),
    [
        ("classification", "", "accuracy", max),
        ("classification", "pr_auc", "pr_auc", max),
        ("classification", "log_loss", "log_loss", min),
        ("regression", "", "rmse", min),
        ("regression", "r2", "r2", max),
    ],
)
def test_the_best_step_by_the_primary_value_is_kept(
    tmp_path: Path, kind: str, primary: str, metric: str, best: Any
) -> None:
    made = recipe(kind, train=TRAIN, evaluate={"primary": primary, "references": False})
    paths = trained(tmp_path, made)
    lines = [line for line in read_curves(paths.checkpoint / "curves.jsonl") if "valid_loss" in line]
    values = {line["step"]: line[f"valid_{metric}"] for line in lines}
    assert list(values) == [4, 8, 12, 16, 20, 24]
    facts = read_json(paths.checkpoint / "training.json")
    assert facts[f"valid_{metric}"] == best(values.values()) == values[facts["step"]]
    evaluate(made, paths)  # the same name, direction and kind of number on the test split
    metrics = read_json(paths.metrics)
    assert metrics["primary"]["metric"] == f"test.{metric}"
    assert metrics["primary"]["better"] == ("higher" if best is max else "lower")
    assert metrics["test"][metric] == pytest.approx(facts[f"valid_{metric}"], rel=0.5)


def test_its_value_is_that_of_the_exported_answers(tmp_path: Path) -> None:
    """With F1 the border between two labels is the one that is stored."""
    made = recipe(train=TRAIN, evaluate={"primary": "f1"}, task={"kind": "classification", "threshold": "f1"})
    paths = trained(tmp_path, made)
    from pipelines.tasks.supervised import metrics
    from pipelines.tasks.supervised.network import Answers, load
    from pipelines.tasks.supervised.predict import predict

    learner = Supervised(made, paths.prepared)
    assert isinstance(learner, Judged)
    network, facts = load(made.model, learner.train.index, paths.checkpoint)
    answers = predict(Answers(network, True).eval(), learner.valid.inputs)
    f1 = metrics.classification(answers, learner.valid.targets, facts["threshold"])["f1"]
    assert f1 == pytest.approx(read_json(paths.checkpoint / "training.json")["valid_f1"])


def test_another_primary_value_trains_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = trained(tmp_path, recipe(train=TRAIN, evaluate={"primary": "auc"}))
    train(recipe(train=TRAIN, evaluate={"primary": "auc", "references": False}), paths)
    assert "already done" in capsys.readouterr().err  # what else `evaluate` says decides nothing of training
    train(recipe(train=TRAIN, evaluate={"primary": "accuracy"}), paths)
    assert "training starts anew" in capsys.readouterr().err
    assert "valid_accuracy" in read_json(paths.checkpoint / "training.json")


def test_a_validation_split_without_such_a_value_is_refused(tmp_path: Path) -> None:
    made = recipe(evaluate={"primary": "auc"})
    valid = [row | {"y": "no"} for row in noisy(30, 1, "classification")]
    rows = {"train": noisy(100, 0, "classification"), "test": noisy(30, 2, "classification")}
    prepared = prepare(tmp_path, made, **rows, valid=valid)
    with pytest.raises(MetrolineError, match=r"^evaluate\.primary: auc is no number on the validation split \(30 exam"):
        Supervised(made, prepared)
