"""Sequential tests: they may be looked at after every request, and are wrong no more often for it.

- `Sprt`: Wald's sequential probability ratio test of a share (Wald 1945, Annals of Mathematical Statistics 16).
- `Mean`: the mixture sequential probability ratio test of a mean, as always-valid intervals (Johari, Pekelis and Walsh
  2015, arXiv:1512.04922, eq. 17: normal mixture, variance estimated).
"""

from math import inf, log, sqrt

ALPHA = 0.001
"""Share of good candidates that a test turns down, at most."""
BETA = 0.01
"""Share of bad ones that `Sprt` takes for good before it has seen more of them."""


class Sprt:
    """Is a share `good` or less, or `bad` or more?

    Once it says good it goes on from there, so that what turns bad later is found as soon as what was bad from the
    start: then it is Page's cumulative sum test (Page 1954, Biometrika 41).
    """

    def __init__(self, good: float, bad: float) -> None:
        """0 < good < bad < 1."""
        self._steps = (log((1 - bad) / (1 - good)), log(bad / good))
        self._low, self._high = log(BETA / (1 - ALPHA)), log((1 - BETA) / ALPHA)
        self._sum = 0.0
        self.count = self.events = 0
        self.good = self.bad = False

    def add(self, event: bool) -> None:
        """One more; `event`: it is one of those whose share is asked for."""
        self.count += 1
        self.events += event
        self.step(self._steps[event])

    def step(self, evidence: float) -> None:
        """Add a log-likelihood ratio."""
        self._sum = max(self._low, self._sum + evidence)
        self.good = self.good or self._sum <= self._low
        self.bad = self.bad or self._sum >= self._high

    @property
    def leaning(self) -> float:
        """From -1, good, to 1, bad."""
        return self._sum / (self._high if self._sum > 0 else -self._low)


class Mean:
    """Where is the mean of values that come one by one? The intervals hold at all times together, but for ALPHA."""

    LEAST = 10
    """Values before the variance is believed."""

    def __init__(self, scale: float) -> None:
        """`scale`: the size of a mean that matters, the standard deviation of the mixture."""
        self._mixture = scale * scale
        self.count, self._sum, self._squares = 0, 0.0, 0.0

    def add(self, value: float) -> None:
        """One more."""
        self.count += 1
        self._sum += value
        self._squares += value * value

    @property
    def mean(self) -> float:
        """Of the values so far; 0: there are none."""
        return self._sum / self.count if self.count else 0.0

    @property
    def variance(self) -> float:
        """Of the mean. A run of equal values is not believed: no mean is known better than to a tenth of `scale`."""
        spread = max(self._squares / self.count - self.mean**2, 0.0) * self.count / (self.count - 1)
        return max(spread, self._mixture / 100) / self.count

    def interval(self) -> tuple[float, float]:
        """The mean is between these."""
        if self.count < self.LEAST:
            return -inf, inf
        half = width(self.variance, self._mixture)
        return self.mean - half, self.mean + half


def difference(first: Mean, second: Mean) -> tuple[float, float]:
    """The mean of `second` less that of `first` is between these."""
    if min(first.count, second.count) < Mean.LEAST:
        return -inf, inf
    half = width(first.variance + second.variance, first._mixture)
    apart = second.mean - first.mean
    return apart - half, apart + half


def width(variance: float, mixture: float) -> float:
    """Half of the always-valid interval of a normal mean with this variance of its estimate."""
    both = variance + mixture
    return sqrt(variance * both / mixture * (2 * log(1 / ALPHA) + log(both / variance)))
