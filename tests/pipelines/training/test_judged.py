"""Which step is kept: by the loss, or by the learner's own value with its direction; and in whose words it is told."""

import json
import math

import pytest

from base.errors import MetrolineError
from base.files import read_json
from pipelines.training import curves
from tests.pipelines.training import small_runs, toy

LOSS_FALLS = {"steps": 12, "lr": 0.02, "schedule": "constant"}
VALUES = {3: 0.5, 6: 0.9, 9: 0.2, 12: 0.7}


class Scripted(toy.Toy):
    """Its value is a function of the step that the network is from, and has nothing to do with the loss."""

    metric = "score"

    def __init__(self, better, values=VALUES):
        super().__init__()
        self.better, self.values = better, values

    def value(self, network, device):
        assert not network.training
        return self.values[int(network.norm.num_batches_tracked)]


def facts(paths):
    lines = curves.read_curves(paths.checkpoint / "curves.jsonl")
    return read_json(paths.checkpoint / "training.json"), [line for line in lines if "valid_loss" in line]


def test_by_the_loss_unless_the_learner_has_a_value(tmp_path):
    kept, lines = facts(toy.train(tmp_path, **LOSS_FALLS))
    assert kept["step"] == 12  # the loss falls, so a step before it is the value's choice
    assert kept["valid_loss"] == lines[-1]["valid_loss"] == min(line["valid_loss"] for line in lines)
    assert not [name for name in (*kept, *lines[0]) if name.startswith("valid_") and name != "valid_loss"]


@pytest.mark.parametrize(("better", "step", "word"), [("higher", 6, "highest"), ("lower", 9, "lowest")])
def test_the_value_chooses_in_its_direction(tmp_path, capsys, better, step, word):
    kept, lines = facts(toy.train(tmp_path, Scripted(better), **LOSS_FALLS))
    assert kept["step"] == step
    assert kept["valid_score"] == VALUES[step]
    assert kept["valid_loss"] == next(line["valid_loss"] for line in lines if line["step"] == step)
    assert [line["valid_score"] for line in lines] == list(VALUES.values())
    told = f"the validation score was {word} at step {step} of 12 ({VALUES[step]:.3f})"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(("better", "stopped"), [("higher", 9), ("lower", 6)])
def test_early_stopping_goes_by_the_value(tmp_path, better, stopped):
    kept, _ = facts(toy.train(tmp_path, Scripted(better), **LOSS_FALLS, early_stopping=1))
    assert kept["steps"] == stopped
    assert kept["step"] == stopped - 3


def test_killed_and_resumed_chooses_the_same(tmp_path):
    whole = toy.train(tmp_path / "whole", Scripted("higher"), **LOSS_FALLS)
    for number in (4, 10):
        with small_runs.killed_after(number):
            toy.train(tmp_path / "part", Scripted("higher"), **LOSS_FALLS)
    part = toy.train(tmp_path / "part", Scripted("higher"), **LOSS_FALLS)
    assert small_runs.hashes(part.checkpoint) == small_runs.hashes(whole.checkpoint)


def test_a_value_that_is_no_number_stops(tmp_path):
    with pytest.raises(MetrolineError, match=r"^step 3: score of the validation split is nan"):
        toy.train(tmp_path, Scripted("higher", {3: math.nan}))


def test_words(tmp_path, monkeypatch, capsys):
    units = []
    monkeypatch.setenv("METROLINE_PROGRESS", "lines")
    monkeypatch.setattr(curves, "draw", lambda lines, path, title, unit: units.append(unit))
    toy.train(tmp_path / "own", toy.Accurate())
    own = capsys.readouterr()
    toy.train(tmp_path / "any", toy.Toy())
    plain = capsys.readouterr()
    assert units == ["nats per image", "mean per target"]
    for words, unit in ((own, "images"), (plain, "targets")):
        text = words.out + words.err
        fields = [json.loads(line.split(" ", 1)[1]) for line in text.splitlines() if line.startswith("@progress ")]
        assert f"{unit}_per_s" in json.dumps(fields)
        assert "token" not in text
    assert "valid_accuracy" in own.out + own.err


def test_the_gauge_of_the_value(tmp_path):
    paths = toy.train(tmp_path, Scripted("higher"), **LOSS_FALLS)
    assert 'metroline_train_valid_value{recipe="mini"} 0.7' in (paths.training / "metrics.prom").read_text()
