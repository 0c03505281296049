"""Buffers, such as BatchNorm's running statistics, belong to a network as its weights do."""

import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from base.errors import MetrolineError
from base.files import read_json
from pipelines.training.loop import Trainer
from pipelines.training.snapshot import fill, persistent_buffers, swapped
from tests.pipelines.training import small_runs, toy


def test_what_is_kept():
    network = toy.Net()
    network.again = network.norm  # one module under two names
    assert persistent_buffers(network).keys() == {
        "norm.running_mean", "norm.running_var", "norm.num_batches_tracked", "mask",
    }  # fmt: skip


@pytest.mark.parametrize("ema", [0.0, 0.8])
def test_the_checkpoint_answers_as_the_trainer_did(tmp_path, monkeypatch, ema):
    validate, answers = Trainer.validate, {}
    images = toy.Toy().images

    def recorded(self):
        loss = validate(self)
        with swapped(self.weights, self.averages), torch.no_grad():
            answers[self.counters.step] = self.network.eval()(images)
        return loss

    monkeypatch.setattr(Trainer, "validate", recorded)
    paths = toy.train(tmp_path, ema=ema)
    best = read_json(paths.checkpoint / "training.json")["step"]
    network = toy.Net()
    before = network.eval()(images)
    network.load_state_dict(load_file(paths.checkpoint / "model.safetensors"), strict=True)
    with torch.no_grad():
        after = network.eval()(images)
    assert torch.equal(after, answers[best])
    assert not torch.allclose(after, before, atol=1e-3)
    assert network.norm.num_batches_tracked == best


@pytest.mark.parametrize("options", [{}, {"ema": 0.8, "micro_batch": 2, "optimizer": "lamb"}])
def test_killed_and_resumed_is_the_same(tmp_path, options):
    whole = small_runs.hashes(toy.train(tmp_path / "whole", **options).checkpoint)
    for number in (3, 8):
        with small_runs.killed_after(number):
            toy.train(tmp_path / "part", **options)
    assert small_runs.hashes(toy.train(tmp_path / "part", **options).checkpoint) == whole


@pytest.mark.parametrize(("kind", "optimizer"), [("ddp", "sgd"), ("fsdp", "muon")])
def test_all_processes_and_a_resumed_run_have_the_same(tmp_path, kind, optimizer):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    done = subprocess.run([*launcher, "tests.pipelines.training.toy", str(tmp_path), kind, optimizer],
                          cwd=small_runs.ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True,
                          text=True, timeout=240, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, *others = [load_file(path) for path in sorted(tmp_path.glob("*-[01].safetensors"))]
    assert len(others) == 3
    assert first["mask"].tolist() == [pytest.approx(0.1), -torch.inf]
    assert first["norm.num_batches_tracked"] == 9
    assert first["norm.running_mean"].abs().min() > 0
    for other in others:
        assert all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize(
    ("spoil", "names"),
    [
        (lambda tensors: tensors.pop("norm.running_var"), "norm.running_var"),
        (lambda tensors: tensors.update(other=torch.ones(1)), "other"),
        (lambda tensors: tensors.update({"head.bias": torch.ones(3)}), "head.bias"),
    ],
    ids=["missing", "unknown", "shape"],
)
def test_a_checkpoint_takes_nothing_else(spoil, names):
    tensors = dict(toy.Net().named_parameters()) | persistent_buffers(toy.Net())
    fill(toy.Net(), tensors)
    spoil(tensors)
    with pytest.raises(MetrolineError, match=rf"differ in {names} \("):
        fill(toy.Net(), tensors)
