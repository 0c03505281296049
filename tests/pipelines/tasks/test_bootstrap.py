"""Intervals by the bootstrap against what is known of them."""

import numpy as np
import pytest

from pipelines.tasks.bootstrap import interval

ROWS = np.arange(400)


def test_a_mean_has_the_interval_of_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=400)
    low, high = interval(lambda rows: float(values[rows].mean()), ROWS, 4000)
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)


def test_a_paired_difference_is_surer_than_its_parts() -> None:
    generator = np.random.default_rng(1)
    ours = generator.normal(size=400)
    theirs = ours - 0.02 + 0.1 * generator.normal(size=400)  # nearly the same rows are hard for both
    low, high = interval(lambda rows: float(ours[rows].mean() - theirs[rows].mean()), ROWS, 2000)
    assert 0 < low < high < 0.05


def test_it_is_a_function_of_its_seed() -> None:
    def value(rows: np.ndarray) -> float:
        return float(rows.mean())

    assert interval(value, ROWS, 50) == interval(value, ROWS, 50)
    assert interval(value, ROWS, 50) != interval(value, ROWS, 50, seed=1)


def test_samples_without_a_value_do_not_count() -> None:
    low, high = interval(lambda rows: float("nan") if rows[0] % 2 else 3.0, ROWS, 50)
    assert (low, high) == (3.0, 3.0)
