"""Learning rate, batch shapes and data order as functions of the step."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.recipe.train_section import TrainConfig
from pipelines.tasks.language_modelling.shift import epoch_shift
from pipelines.training.order import Order
from pipelines.training.schedule import rate, shape


@pytest.mark.parametrize("schedule", ["cosine", "linear", "wsd", "constant"])
def test_rate_rises_then_falls_to_the_end(schedule):
    config = TrainConfig(steps=100, warmup=10, schedule=schedule, final_lr=0.1, decay=0.3)
    rates = [rate(config, step) for step in range(100)]
    assert rates[:10] == sorted(rates[:10])
    assert 0 < rates[0] < 0.2
    assert max(rates) <= 1
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(1.0 if schedule == "constant" else 0.1)
    if schedule == "wsd":
        assert rates[10:70] == [1.0] * 60
        assert rates[84] == pytest.approx(0.55)  # half of the decay
    if schedule == "linear":
        assert rates[54] == pytest.approx(0.55)


def test_rate_with_no_warmup_begins_at_once():
    assert rate(TrainConfig(steps=10, warmup=0, schedule="wsd"), 0) == 1.0
    assert rate(TrainConfig(steps=1, warmup=0, schedule="linear", final_lr=0), 0) == 0.0


def test_wsd_that_decays_all_the_time_starts_after_warmup():
    config = TrainConfig(steps=100, warmup=10, schedule="wsd", decay=1.0, final_lr=0.0)
    rates = [rate(config, step) for step in range(100)]
    assert rates[-1] == pytest.approx(0, abs=0.11)
    assert all(a >= b for a, b in pairwise(rates[10:]))


def test_phases_take_windows_side_by_side():
    phases = [{"steps": 3, "batch": 8, "sequence": 32}, {"steps": 2, "batch": 2, "sequence": 64}]
    config = TrainConfig(steps=8, batch=5, sequence=64, warmup=0, phases=phases)
    plans = [shape(config, step) for step in range(8)]
    assert [plan.windows for plan in plans] == [4, 4, 4, 2, 2, 5, 5, 5]
    assert [plan.sequence for plan in plans] == [32] * 3 + [64] * 5
    assert [plan.first for plan in plans] == list(np.cumsum([0, 4, 4, 4, 2, 2, 5, 5]))


@given(windows=st.integers(1, 50), seed=st.integers(0, 2**31 - 1), first=st.integers(0, 500), count=st.integers(0, 120))
def test_order_is_the_same_however_it_is_asked_for(windows, seed, first, count):
    epochs, chosen = Order(windows, seed).take(first, count)
    other = Order(windows, seed)
    singly = [other.take(position, 1) for position in range(first, first + count)]
    assert epochs.tolist() == [int(epoch[0]) for epoch, _ in singly]
    assert chosen.tolist() == [int(window[0]) for _, window in singly]


@given(windows=st.integers(1, 50), seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 20))
def test_an_epoch_takes_each_window_once(windows, seed, epoch):
    _, chosen = Order(windows, seed).take(epoch * windows, windows)
    assert sorted(chosen.tolist()) == list(range(windows))


def test_epochs_and_seeds_differ():
    order = Order(1000, 1)
    first, second = order.take(0, 1000)[1], order.take(1000, 1000)[1]
    assert (first != second).any()
    assert (first != Order(1000, 2).take(0, 1000)[1]).any()
    assert len({epoch_shift(1, epoch, 64) for epoch in range(1, 50)}) > 10
    assert epoch_shift(1, 0, 64) == 0


def test_order_needs_windows():
    with pytest.raises(ValueError, match="at least one window"):
        Order(0, 1)
