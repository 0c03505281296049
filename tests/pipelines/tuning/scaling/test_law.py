"""The law: known numbers are found again, the gradient is that of the value, the best size is the best."""

import itertools

import numpy as np
import pytest
from scipy.optimize import check_grad

from pipelines.tuning.scaling import law as laws
from pipelines.tuning.scaling.law import Law, Run, drawn_again, fit, interval

KNOWN = Law(1.69, 406.4, 410.7, 0.34, 0.28)  # Hoffmann et al. 2022
SIZES, TARGETS = (1e6, 4e6, 1.6e7, 6e7), (2e7, 1e8, 5e8)


def runs(noise=0.0):
    generator = np.random.default_rng(1)
    return [
        Run(int(n), int(d), KNOWN.loss(n, d) * float(np.exp(noise * generator.standard_normal())))
        for n, d in itertools.product(SIZES, TARGETS)
    ]


def test_known_numbers_are_found_again():
    found = fit(runs())
    assert found.loss(1e9, 2e10) == pytest.approx(KNOWN.loss(1e9, 2e10), rel=2e-3)
    assert (found.alpha, found.beta, found.e) == pytest.approx((0.34, 0.28, 1.69), rel=0.02)


def test_intervals_hold_what_noise_moves():
    noisy = runs(noise=0.003)
    found = fit(noisy)
    drawn = list(drawn_again(noisy, found))
    assert len(drawn) > 150
    low, high = interval([each.alpha for each in drawn], 0.95)
    assert low < 0.34 < high
    assert found.loss(1e8, 1e9) == pytest.approx(KNOWN.loss(1e8, 1e9), rel=0.02)
    assert [each.alpha for each in drawn_again(noisy, found)] == [each.alpha for each in drawn], "seeded"


def test_the_gradient_is_that_of_the_value():
    n, d, losses = (np.log([getattr(run, key) for run in runs(0.01)]) for key in ("parameters", "targets", "loss"))
    for x in ([5.0, 6.0, 0.3, 0.3, 0.3], [1.0, 2.0, -0.5, 0.2, 0.6]):
        off = check_grad(
            lambda v: laws._objective(v, n, d, losses)[0], lambda v: laws._objective(v, n, d, losses)[1], np.array(x)
        )
        assert off < 1e-2 * np.abs(laws._objective(np.array(x), n, d, losses)[1]).max()


def test_the_best_size_is_the_best():
    flops = 1e18
    parameters, targets = KNOWN.best(flops)
    assert 6 * parameters * targets == pytest.approx(flops)
    for other in (0.8, 1.25):
        assert KNOWN.loss(parameters * other, targets / other) > KNOWN.loss(parameters, targets)


def test_too_little_to_go_by():
    with pytest.raises(ValueError, match="5 runs, and a law takes 6"):
        fit(runs()[:5])
    with pytest.raises(ValueError, match="all runs have 1,000,000 parameters"):
        fit([Run(1_000_000, 1000 * i, 3.0) for i in range(1, 8)])
