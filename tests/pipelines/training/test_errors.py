"""What training refuses or stops at: one clear line each, and nothing half-written."""

import math

import pytest

from base.errors import MetrolineError
from pipelines.paths import Paths
from pipelines.training import device as machine
from pipelines.training import loop
from pipelines.training.stage import checked_port, train
from tests.pipelines.training import small_runs


@pytest.fixture
def paths(tmp_path):
    paths = Paths("mini", tmp_path)
    small_runs.prepare(paths.prepared)
    return paths


def cut(paths):
    path = paths.prepared / "train-00000.bin"
    path.write_bytes(path.read_bytes()[:-2])


def flip(paths):
    path = paths.prepared / "train-00000.bin"
    path.write_bytes(b"\x01\x00" + path.read_bytes()[2:])


@pytest.mark.parametrize(
    ("model", "options", "spoil", "says"),
    [
        ({}, {}, lambda paths: (paths.prepared / "index.json").unlink(), "index.json is missing"),
        ({}, {}, lambda paths: (paths.prepared / "train-00000.bin").unlink(), "train-00000.bin is missing"),
        ({}, {}, cut, "instead of"),
        ({}, {}, flip, "wrong SHA-256"),
        ({}, {"batch": 500}, None, "less than the 8,001 of one batch (500 sequences of 16)"),
        ({}, {"sequence": 32}, None, "train.sequence 32 is longer than model.context 16"),
        ({"vocab_size": 7}, {}, None, "model.vocab_size is 7, the prepared data has 20 tokens"),
        ({}, {"device": "tpu"}, None, "no such device: tpu"),
        ({}, {"device": "meta"}, None, "does not know device meta"),
        ({}, {"device": "cuda:99"}, None, "cuda:99"),
    ],
    ids=["no index", "no shard", "cut shard", "changed shard", "small corpus", "context", "vocabulary", "device",
         "other device", "no such GPU"],
)  # fmt: skip
def test_refuses(paths, monkeypatch, model, options, spoil, says):
    monkeypatch.delenv(machine.VARIABLE, raising=False)
    if spoil:
        spoil(paths)
    with pytest.raises(MetrolineError) as error:
        train(small_runs.recipe(model, **options), paths)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert not paths.checkpoint.exists()


def test_the_variable_comes_before_the_recipe(paths, monkeypatch):
    monkeypatch.setenv(machine.VARIABLE, "npu")
    with pytest.raises(MetrolineError, match="npu"):
        train(small_runs.recipe(device="cpu"), paths)


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1", "80.5"])
def test_refuses_a_metrics_port(monkeypatch, port):
    monkeypatch.setenv("METROLINE_METRICS_PORT", port)
    with pytest.raises(MetrolineError, match="from 1 to 65535"):
        checked_port(None)


def test_metrics_port_is_off_unless_asked(monkeypatch):
    monkeypatch.delenv("METROLINE_METRICS_PORT", raising=False)
    assert checked_port(None) is None
    assert checked_port(9100) == 9100


def test_a_loss_that_is_not_finite_names_step_batch_and_last_good_state(paths, monkeypatch):
    """The weights become infinite by themselves after a few steps with a rate far beyond sense."""
    step = loop.Trainer.step

    def poisoned(self):
        if self.counters.step == 8:
            self.weights["norm.weight"].data.fill_(math.nan)
        step(self)

    monkeypatch.setattr(loop.Trainer, "step", poisoned)
    with pytest.raises(MetrolineError) as error:
        train(small_runs.recipe(), paths)
    told = str(error.value)
    assert told.startswith("step 9: loss nan")
    assert "4 windows of 16 tokens at train tokens " in told
    assert "the last good state is step 6 in " in told
    assert "lower train.lr" in told
    states = next((paths.training / "states").iterdir())
    assert (states / "step-00000006.json").exists()
    assert not (states / "step-00000009.json").exists()
    assert not paths.checkpoint.exists()
    assert "running" in (paths.training / "metrics.prom").read_text()


def test_a_rate_beyond_sense_is_reported_not_trained_on(paths):
    with pytest.raises(MetrolineError, match=r"step \d+: loss .*no state was saved before it"):
        train(small_runs.recipe(optimizer="adamw", lr=1e30, warmup=0, save_every=100), paths)


def test_a_gradient_that_is_not_finite_stops_too(paths, monkeypatch):
    monkeypatch.setattr(loop.Trainer, "clip", lambda self: math.inf)
    with pytest.raises(MetrolineError, match=r"step 1: loss .*, gradient norm inf"):
        train(small_runs.recipe(), paths)


def test_the_command_line_prints_one_line(tmp_path):
    small_runs.project(tmp_path, steps=12, batch=500)
    process = small_runs.start(tmp_path)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert output.startswith("error: the train split has ")
    assert len(output.splitlines()) == 1


def test_the_command_line_takes_a_device(tmp_path):
    small_runs.project(tmp_path)
    process = small_runs.start(tmp_path, "--device", "cuda:77")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "cuda:77" in output
