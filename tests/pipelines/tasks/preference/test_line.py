"""A tiny chat model is taught preferences, judged against what it was, and exported; killed, it arrives at the same."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from base.errors import MetrolineError
from base.files import read_json
from data.text.shards import Shards
from models.checkpoint import load
from pipelines.evaluation import evaluate
from pipelines.exporting.stage import export
from pipelines.paths import Paths
from pipelines.recipe import gates, kinds
from pipelines.recipe.consistency import problems
from pipelines.tasks.language_modelling.imported import imported
from pipelines.tasks.preference.evaluate import preferences
from pipelines.tasks.preference.reference import FILE
from pipelines.training.stage import train
from tests.pipelines import small_line
from tests.pipelines.tasks.preference import small_pairs
from tests.pipelines.tasks.preference.test_learner import plainly
from tests.pipelines.training.small_runs import hashes, killed_after, start


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first weights and pairs, not trained."""
    root = tmp_path_factory.mktemp("prepared")
    small_pairs.prepared(root)
    return root


@pytest.fixture(scope="module")
def taught(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """Trained, evaluated and exported."""
    paths = small_line.copy(Paths("polite", prepared), tmp_path_factory.mktemp("taught") / "line")
    recipe = small_pairs.recipe()
    train(recipe, paths)
    evaluate(recipe, paths, paths.pretrained)
    export(recipe, paths)
    return paths


def curves(paths: Paths) -> list[dict[str, float]]:
    return [json.loads(line) for line in (paths.checkpoint / "curves.jsonl").read_text().splitlines()]


def test_training_begins_at_the_coin_and_learns_to_prefer(taught):
    lines = curves(taught)
    assert all({"loss", "accuracy", "margin", "chosen", "rejected"} <= set(line) for line in lines)
    judged = [line for line in lines if "valid_loss" in line]
    assert [line["step"] for line in judged] == [10, 20, 30, 40]
    assert judged[-1]["valid_margin"] > judged[0]["valid_margin"] > 0
    assert judged[-1]["valid_accuracy"] > 0.9
    assert lines[-1]["loss"] < 0.5 < lines[0]["loss"] < math.log(2) + 0.01


def test_the_first_step_has_no_margin(prepared, tmp_path):
    paths = small_line.copy(Paths("polite", prepared), tmp_path / "line")
    train(small_pairs.recipe(train={**small_pairs.TRAIN, "steps": 2, "warmup": 0, "log_every": 1}), paths)
    first, second = curves(paths)
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert abs(first["margin"]) < 1e-6
    assert abs(second["margin"]) > 1e-4


def test_a_killed_run_arrives_at_the_same_bytes(prepared, taught, tmp_path):
    """At several moments, each time with the reference that was computed at first."""
    paths = small_line.copy(Paths("polite", prepared), tmp_path / "line")
    seals = set()
    for step in (1, 12, 20, 39):
        with killed_after(step):
            train(small_pairs.recipe(), paths)
        (reference,) = (paths.training / "states").glob(f"*/first/{FILE}")
        seals.add((reference.stat().st_ino, reference.stat().st_mtime_ns))
    train(small_pairs.recipe(), paths)
    assert len(seals) == 1
    assert hashes(paths.checkpoint) == hashes(taught.checkpoint)


def test_two_processes_learn_what_one_does(prepared, tmp_path):
    """The first computes the reference, the other reads it, and each takes its share of the pairs."""
    train_section = {**small_pairs.TRAIN, "steps": 6}
    alone, shared = (small_line.copy(Paths("polite", prepared), tmp_path / name) for name in ("one", "two"))
    train(small_pairs.recipe(train=train_section), alone)
    file = shared.root / "pipelines/recipes/polite.yaml"
    file.parent.mkdir(parents=True)
    written = {key: value for key, value in small_pairs.values(train=train_section, model={}).items() if key != "name"}
    file.write_text(json.dumps(written))  # JSON is YAML
    output, _ = (process := start(shared.root, recipe="polite", processes=2)).communicate(timeout=240)
    assert process.returncode == 0, output
    assert output.count("reference: 66/66 pairs") == 1
    for ours, theirs in zip(curves(shared), curves(alone), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)


def test_the_checkpoint_says_what_it_was_judged_against(taught):
    record = read_json(taught.checkpoint / "preference.json")
    assert (record["loss"], record["beta"]) == ("sigmoid", 0.1)
    assert record["pairs"] == {split: len(Shards(taught.prepared, split)) // 2 for split in ("train", "valid")}
    assert re.fullmatch("[0-9a-f]{64}", record["reference_sha256"])


def test_what_is_measured_is_what_plain_code_finds(taught):
    metrics, test = read_json(taught.metrics), Shards(taught.prepared, "test")
    model, base = load(taught.checkpoint).eval(), imported(taught.pretrained, 259).eval()
    with torch.no_grad():
        now, before = (
            np.array([float(plainly(each, test, chat)[0]) for chat in range(len(test))]).reshape(-1, 2)
            for each in (model, base)
        )
    counts = np.array([plainly(base, test, chat)[1] for chat in range(len(test))]).reshape(-1, 2)
    apart = (now - before)[:, 0] - (now - before)[:, 1]
    found, baselines = metrics["test"], metrics["baselines"]
    assert found["accuracy"] == pytest.approx((apart > 0).mean())
    assert found["margin"] == pytest.approx(0.1 * apart.mean(), rel=1e-3)
    assert found["loss"] == pytest.approx(np.log1p(np.exp(-0.1 * apart)).mean(), rel=1e-3)
    assert baselines["base_sum_accuracy"] == pytest.approx((before[:, 0] > before[:, 1]).mean())
    assert baselines["base_mean_accuracy"] == pytest.approx(((before / counts)[:, 0] > (before / counts)[:, 1]).mean())
    assert baselines["base_accuracy"] == max(baselines["base_sum_accuracy"], baselines["base_mean_accuracy"])
    assert found["gain"] == pytest.approx(found["accuracy"] - baselines["base_accuracy"])
    assert found["accuracy_low"] <= found["accuracy"] <= found["accuracy_high"]
    assert found["pairs"] == len(test) // 2
    assert found["stop_change"] == pytest.approx(found["stop_rate"] - baselines["base_stop_rate"])


def test_all_that_the_task_says_it_measures_is_measured_and_gates_hold(taught):
    metrics = read_json(taught.metrics)
    values = gates.measured(metrics, read_json(taught.bundle / "parity.json"))
    assert set(kinds.task("preference").measured) <= set(values)
    gates.require([gates.floor(metrics), "test.accuracy_low > 0.5", "test.margin_low > 0"], values)
    card = (taught.bundle / "README.md").read_text()
    for number in (f"{100 * metrics['test']['accuracy']:.1f} %", f"{metrics['test']['margin']:.3f}",
                   f"{100 * metrics['base']['perplexity_delta']:+.2f} %"):  # fmt: skip
        assert number in card


def test_the_base_itself_prefers_nothing(taught, tmp_path):
    """What was not taught is not released: no reward, so no accuracy above the floor."""
    paths = small_line.copy(taught, tmp_path / "line")
    for path in (paths.pretrained / "files").glob("*.*"):
        (paths.checkpoint / path.name).write_bytes(path.read_bytes())
    evaluate(small_pairs.recipe(), paths, paths.pretrained)
    metrics = read_json(paths.metrics)
    assert (metrics["test"]["accuracy"], metrics["test"]["margin"], metrics["base"]["perplexity_delta"]) == (0, 0, 0)
    assert metrics["test"]["loss"] == pytest.approx(math.log(2))
    with pytest.raises(MetrolineError, match="3 of 3 gates failed"):
        gates.require([gates.floor(metrics), "test.accuracy_low > 0.5", "test.gain_low > 0"],
                      gates.measured(metrics, {}))  # fmt: skip


def test_a_gain_that_is_not_sure_has_an_interval_around_nothing():
    """A model that is right as often as its base, on other pairs."""
    generator, recipe = np.random.default_rng(0), small_pairs.recipe()
    before = generator.normal(-20, 3, (200, 2))
    now = before + generator.normal(0, 1, (200, 2))
    test, baselines = preferences(now, before, np.full((200, 2), 9.0), recipe.task, recipe.evaluate)
    assert test["gain_low"] < 0 < test["gain_high"]
    assert test["accuracy_low"] < 0.5 < test["accuracy_high"]
    assert baselines["base_sum_accuracy"] == baselines["base_mean_accuracy"]


PROBLEMS = [
    ({"pretrained": {}}, r"pretrained\.source: chats are taught to a model that has been trained"),
    ({"train": {}}, r"train: a model that has learnt from no pair prefers nothing"),
    ({"train": {**small_pairs.TRAIN, "label_smoothing": 0.5}}, r"train\.label_smoothing: at 0\.5 no pair says"),
    ({"train": {**small_pairs.TRAIN, "label_smoothing": 0.1}, "task": {"kind": "preference", "loss": "ipo"}},
     r"train\.label_smoothing: has no effect on task\.loss ipo"),
    ({"data": {"length": 4096}}, r"train\.sequence: chats of data\.length \(4096\) do not fit into 128"),
]  # fmt: skip


@pytest.mark.parametrize(("sections", "message"), PROBLEMS)
def test_sections_that_contradict_each_other(sections, message):
    found = list(problems(small_pairs.recipe(**sections)))
    assert any(re.match(message, problem) for problem in found), found


@pytest.mark.parametrize("beta", [0, -1, float("inf"), float("nan")])
def test_a_beta_that_means_nothing(beta):
    with pytest.raises(ValidationError, match=r"task\.beta"):
        small_pairs.recipe(task={"kind": "preference", "beta": beta})
