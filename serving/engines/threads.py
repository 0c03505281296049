"""How many threads run a graph."""

from serving.bundle import Bundle

SMALL = 16 << 20
"""Bytes of a graph whose steps are too short to be shared between threads: two were a third slower than one
(2.6 M parameters in int8, 0.40 and 0.30 ms a token), while at 25 M they were twice as fast."""


def threads_for(bundle: Bundle, cores: int) -> int:
    """How many threads serve this bundle best, of those that are there."""
    return 1 if bundle.graph.stat().st_size < SMALL else cores
