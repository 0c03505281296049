"""Whatever a network or a task draws depends on the seed and the step, not on what was drawn before."""

import random

import numpy as np
import pytest
import torch

from base.errors import MetrolineError
from pipelines.training.randomness import BATCH, piece_seed, reseed
from tests.pipelines.training import toy


def draws() -> list[float]:
    return [float(torch.rand(())), float(np.random.rand()), random.random()]


def test_reseed_sets_every_generator():
    reseed(toy.CPU, 7)
    first = draws()
    assert draws() != first
    reseed(toy.CPU, 7)
    assert draws() == first
    for other in ((8,), (7, BATCH)):
        reseed(toy.CPU, *other)
        assert not set(draws()) & set(first)


def test_reseed_sets_the_gpus_generator_that_is_used(monkeypatch):
    made = [torch.Generator(), torch.Generator()]
    monkeypatch.setattr(torch.cuda, "default_generators", ())
    monkeypatch.setattr(torch.cuda, "init", lambda: monkeypatch.setattr(torch.cuda, "default_generators", made))
    reseed(torch.device("cuda", 1), 7)
    reseed(toy.CPU, 7)
    assert made[1].initial_seed() == torch.default_generator.initial_seed()
    assert made[0].initial_seed() != made[1].initial_seed()


def test_no_two_pieces_share_a_seed():
    seeds = {piece_seed(seed, step, rank, piece) for seed in (0, 1) for step in range(-1, 50) for rank in range(4)
             for piece in range(4)}  # fmt: skip
    assert len(seeds) == 2 * 51 * 4 * 4
    assert all(0 <= seed < 2**62 for seed in seeds)


def weights(trainer):
    return {name: x.clone() for name, x in trainer.whole().items()}


def equal(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_what_others_draw_changes_nothing(tmp_path):
    whole = toy.trainer(tmp_path / "whole", micro_batch=4)
    while whole.counters.step < 6:
        whole.step()
    part = toy.trainer(tmp_path / "part", micro_batch=4)
    while part.counters.step < 3:
        torch.rand(5)
        part.step()
    part.validate()
    part.save(None)
    torch.manual_seed(99)
    resumed = toy.trainer(tmp_path / "part", micro_batch=4)
    while resumed.counters.step < 6:
        resumed.step()
    assert equal(weights(resumed), weights(whole))
    other = toy.trainer(tmp_path / "other", micro_batch=4, seed=2)
    assert not equal(weights(other), weights(toy.trainer(tmp_path / "again", micro_batch=4)))


def test_steps_draw_different_numbers(tmp_path, monkeypatch):
    trainer = toy.trainer(tmp_path, micro_batch=4, batch=8)
    seen = []
    forward = toy.Noisy.forward

    def recorded(self, images, labels, seed=None):
        seen.append(float(torch.rand(())))
        return forward(self, images, labels)

    monkeypatch.setattr(toy.Noisy, "forward", recorded)
    for _ in range(3):
        trainer.step()
    assert len(set(seen)) == 3 * 2


def test_validation_is_the_same_each_time(tmp_path):
    trainer = toy.trainer(tmp_path)
    trainer.step()
    assert trainer.validate() == trainer.validate()


@pytest.mark.parametrize("micro_batch", [None, 2])
def test_a_batch_without_targets_is_named_before_a_weight_changes(tmp_path, micro_batch):
    trainer = toy.trainer(tmp_path, toy.Toy(counted=0), micro_batch=micro_batch)
    before = weights(trainer)
    with pytest.raises(MetrolineError, match=r"^step 1: no target counts in its batch, images \d+, ") as error:
        trainer.step()
    assert "train.batch" in str(error.value)
    assert equal(weights(trainer), before)
    assert trainer.counters.step == 0
