"""Random numbers as functions of (seed, step, process, piece), so that a resumed run draws what the first one drew.

Every part of a step, and every validation, begins with `reseed`: what a network or a task then draws from the global
generators (nn.Dropout, noise, augmentation) depends on nothing that came before. So no generator's state is saved.
"""

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch

BATCH, OBJECTIVE = 0, 1
"""What a piece's numbers are for: two uses never share them."""
VALIDATION = -1
"""Stands for the step: each validation draws the same, so that its values compare."""


def piece_seed(seed: int, step: int, rank: int, index: int) -> int:
    """A different seed for each piece of each step, below 2**62."""
    value = seed
    for part in (step, rank, index):
        value = (value * 6_364_136_223_846_793_005 + part + 1_442_695_040_888_963_407) % 2**62
    return value


def reseed(device: torch.device, seed: int, use: int = OBJECTIVE) -> None:
    """Seed the global generators of PyTorch (CPU and `device`), NumPy and Python.

    About 10 µs; torch.manual_seed takes a hundred times as long, because it also asks devices that are not used.
    """
    seed = (seed * 2 + use) % 2**63
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.init()  # before it there are no generators
        torch.cuda.default_generators[device.index or 0].manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


@contextlib.contextmanager
def left_alone(device: torch.device) -> Iterator[None]:
    """What is drawn or seeded within it changes nothing for the caller of a whole run."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
