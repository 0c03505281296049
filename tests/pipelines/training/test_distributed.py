"""Two processes under torchrun learn what one does: DDP and FSDP2 over gloo on the CPU."""

import signal
import time

import psutil
import pytest
import torch
from safetensors.torch import load_file

from pipelines.training.curves import read_curves
from pipelines.training.stage import train
from tests.pipelines.training import small_runs

OPTIONS = {"steps": 12, "batch": 4, "save_every": 5, "precision": "fp32"}
MODEL = {"tied": True}


def finish(process):
    output, _ = process.communicate(timeout=240)
    return process.returncode, output


def curves(paths):
    return read_curves(paths.checkpoint / "curves.jsonl")


def close(ours, theirs):
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for key in ("loss", "valid_loss"):
        values = [[line[key] for line in lines if key in line] for lines in (ours, theirs)]
        assert values[0] == pytest.approx(values[1], abs=1e-4)


@pytest.mark.parametrize(
    ("optimizer", "kind", "more"),
    [
        ("adamw", "ddp", {"micro_batch": 1}),  # pieces, whose gradients are shared once
        ("adamw", "fsdp", {"micro_batch": 1, "isolate_documents": True}),
        ("muon", "fsdp", {"activation_checkpointing": True}),
        ("lamb", "fsdp", {"ema": 0.9}),
    ],
)
def test_two_processes_follow_one(tmp_path, optimizer, kind, more):
    options = {**OPTIONS, **more, "optimizer": optimizer, "distributed": kind}
    alone = small_runs.project(tmp_path / "one", MODEL, **options)
    train(small_runs.recipe(MODEL, **options), alone)
    paths = small_runs.project(tmp_path / "two", MODEL, **options)
    code, output = finish(small_runs.start(tmp_path / "two", processes=2))
    assert code == 0, output
    close(curves(paths), curves(alone))
    ours, weights = (load_file(each.checkpoint / "model.safetensors") for each in (paths, alone))
    assert ours.keys() == weights.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(ours[name], weight, atol=2e-3, rtol=1e-2)


@pytest.mark.parametrize(("kind", "number"), [("ddp", signal.SIGKILL), ("fsdp", signal.SIGTERM)])
def test_two_processes_resume_to_the_same_bytes(tmp_path, kind, number):
    options = {**OPTIONS, "steps": 160, "evaluate_every": 80, "ema": 0.8, "distributed": kind}
    whole = small_runs.project(tmp_path / "whole", {"dropout": 0.1}, **options)
    code, output = finish(small_runs.start(tmp_path / "whole", processes=2))
    assert code == 0, output
    paths = small_runs.project(tmp_path / "pieces", {"dropout": 0.1}, **options)
    process = small_runs.start(tmp_path / "pieces", processes=2)
    deadline = time.monotonic() + 120
    while not list((paths.training / "states").glob("*/step-*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    for child in psutil.Process(process.pid).children():  # the processes that train; torchrun ends by itself then
        child.send_signal(number)
    code, output = finish(process)
    assert code != 0
    assert not paths.checkpoint.exists()
    code, output = finish(small_runs.start(tmp_path / "pieces", processes=2))
    assert code == 0, output
    assert "goes on: found the state of step " in output
    assert small_runs.hashes(paths.checkpoint) == small_runs.hashes(whole.checkpoint)


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path):
    small_runs.project(tmp_path, **{**OPTIONS, "batch": 3})
    code, output = finish(small_runs.start(tmp_path, processes=2))
    assert code != 0
    assert "a batch of 3 sequences of 16 cannot be shared by 2 processes" in output
