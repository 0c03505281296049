"""The sequential tests keep their word: looked at after every value, they are wrong no more often than they say."""

import numpy as np
import pytest

from serving.runtime.delivery.sequential import ALPHA, Mean, Sprt, difference


def until(sprt: Sprt, share: float, dice: np.random.Generator, most: int) -> str:
    for event in dice.random(most) < share:
        sprt.add(bool(event))
        if sprt.bad:
            return "bad"
        if sprt.good:
            return "good"
    return "open"


@pytest.mark.parametrize(("share", "says", "at_least"), [(0.05, "good", 590), (0.1, "good", 585), (0.325, "bad", 585)])
def test_a_share_is_told_from_a_worse_one(share: float, says: str, at_least: int) -> None:
    dice = np.random.default_rng(1)
    found = [until(Sprt(0.1, 0.325), share, dice, 5000) for _ in range(600)]
    assert found.count(says) >= at_least
    if says == "good":
        assert found.count("bad") <= 3  # ALPHA of 600, and luck


def test_it_takes_few_requests() -> None:
    sprt, count = Sprt(0.1, 0.325), 0
    while not sprt.bad:
        sprt.add(True)
        count += 1
    assert count <= 6
    sprt = Sprt(0.1, 0.325)
    for _ in range(10_000):  # a long good time does not hide what comes after
        sprt.add(False)
    assert sprt.good
    for _ in range(11):
        sprt.add(True)
    assert sprt.bad


def test_the_interval_of_a_mean_holds_at_all_times() -> None:
    dice, outside, runs = np.random.default_rng(2), 0, 200
    for _ in range(runs):
        mean = Mean(0.2)
        for value in dice.normal(0.1, 0.3, 600):
            mean.add(float(value))
            low, high = mean.interval()
            if not low <= 0.1 <= high:
                outside += 1
                break
    assert outside <= 3
    assert high - low < 0.15
    assert ALPHA == 0.001


def test_equal_values_are_not_believed_blindly() -> None:
    mean = Mean(0.2)
    for _ in range(9):
        mean.add(0.5)
    assert mean.interval() == (-np.inf, np.inf)
    mean.add(0.5)
    low, high = mean.interval()
    assert low < 0.5 < high


def test_two_means_are_compared() -> None:
    dice, first, second = np.random.default_rng(3), Mean(0.1), Mean(0.1)
    assert difference(first, second) == (-np.inf, np.inf)
    for wrong, other in zip(dice.random(800) < 0.05, dice.random(800) < 0.4, strict=True):
        first.add(float(wrong))
        second.add(float(other))
    low, high = difference(first, second)
    assert 0.05 < low < 0.35 < high
