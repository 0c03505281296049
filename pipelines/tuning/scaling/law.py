"""The law L(N, D) = E + A / N^α + B / D^β through measured losses (Hoffmann et al. 2022, arXiv:2203.15556, §3.3).

N: parameters that are trained; D: targets that were learnt from; L: nats. Fitted as there: Huber's loss (δ = 1e-3) of
the logarithms, by L-BFGS from a grid of beginnings. Intervals are of the runs drawn again with replacement (bootstrap).
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DELTA = 1e-3
LEAST = 6
"""Runs that a law is fitted to, at least: it has five numbers."""
DRAWS = 200
BEGINNINGS = tuple(itertools.product((0.0, 5.0, 10.0), (0.0, 5.0, 10.0), (-1.0, 0.0, 1.0), (0.2, 0.5, 1.0)))
"""Of log A, log B, log E, and both exponents."""


@dataclass(frozen=True)
class Run:
    """What was measured of one training."""

    parameters: int
    targets: int
    loss: float

    @property
    def flops(self) -> float:
        """About 6 · N · D."""
        return 6.0 * self.parameters * self.targets


@dataclass(frozen=True)
class Law:
    """The five numbers."""

    e: float
    a: float
    b: float
    alpha: float
    beta: float

    def loss(self, parameters: float, targets: float) -> float:
        """What a run would end with, nats."""
        return float(self.e + self.a / parameters**self.alpha + self.b / targets**self.beta)

    def best(self, flops: float) -> tuple[float, float]:
        """(parameters, targets) with the least loss of all that take so many floating-point operations."""
        ratio = (self.alpha * self.a / (self.beta * self.b)) ** (1 / (self.alpha + self.beta))
        parameters = ratio * (flops / 6) ** (self.beta / (self.alpha + self.beta))
        return parameters, flops / 6 / parameters


def fit(runs: Sequence[Run], beginnings: Sequence[tuple[float, ...]] = BEGINNINGS) -> Law:
    """The law that fits best. Raises ValueError: fewer than LEAST runs, or all of one size or of one length."""
    if len(runs) < LEAST:
        raise ValueError(f"{len(runs)} runs, and a law takes {LEAST} or more")
    for name in ("parameters", "targets"):
        if len({getattr(run, name) for run in runs}) < 2:
            raise ValueError(f"all runs have {getattr(runs[0], name):,} {name}")
    from scipy.optimize import minimize

    n, d, losses = (np.log([getattr(run, key) for run in runs]) for key in ("parameters", "targets", "loss"))
    found = [
        minimize(_objective, np.array([a, b, e, exponent, exponent]), args=(n, d, losses), jac=True, method="L-BFGS-B",
                 bounds=[(-20, 40), (-20, 40), (-20, 5), (0.01, 3), (0.01, 3)])
        for a, b, e, exponent in beginnings
    ]  # fmt: skip
    a, b, e, alpha, beta = min(found, key=lambda each: float(each.fun)).x.tolist()
    return Law(float(np.exp(e)), float(np.exp(a)), float(np.exp(b)), alpha, beta)


def drawn_again(runs: Sequence[Run], law: Law, seed: int = 0) -> Iterator[Law]:
    """Laws of the runs drawn again with replacement, from the law on; draws that fix none are left out."""
    generator = np.random.default_rng(seed)
    begin = ((np.log(law.a), np.log(law.b), np.log(law.e), (law.alpha + law.beta) / 2),)
    for _ in range(DRAWS):
        chosen = [runs[place] for place in generator.integers(len(runs), size=len(runs))]
        try:
            yield fit(chosen, begin)
        except ValueError:
            continue


def interval(values: Sequence[float], inside: float = 0.8) -> tuple[float, float]:
    """Where so large a share of the values lies, the middle one."""
    low, high = np.quantile(values, [(1 - inside) / 2, (1 + inside) / 2])
    return float(low), float(high)


def _objective(
    x: NDArray[np.float64], n: NDArray[np.float64], d: NDArray[np.float64], losses: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Huber's loss of all runs, and its gradient; in logarithms, so that no power overflows."""
    a, b, e, alpha, beta = x
    parts = np.stack([a - alpha * n, b - beta * d, np.full_like(n, e)])
    total = np.logaddexp.reduce(parts, 0)
    off = total - losses
    value = np.where(np.abs(off) <= DELTA, 0.5 * off**2, DELTA * (np.abs(off) - 0.5 * DELTA))
    share = np.exp(parts - total) * np.clip(off, -DELTA, DELTA)
    gradient = np.array([share[0].sum(), share[1].sum(), share[2].sum(), -(share[0] * n).sum(), -(share[1] * d).sum()])
    return float(value.sum() / DELTA), gradient / DELTA
