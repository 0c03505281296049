"""Learning rate and batch shape as functions of the step alone, so that resuming needs no memory of them."""

import math
from dataclasses import dataclass

from pipelines.recipe.train_section import TrainConfig


def rate(config: TrainConfig, step: int) -> float:
    """Factor on the peak learning rate for the update of `step` (counted from 0).

    Warm-up is linear and ends at 1 with step `warmup`; then, with x from 0 to 1 over the steps that are left:
    cosine (Loshchilov and Hutter 2017, arXiv:1608.03983), linear, wsd (warm-up, stable, decay: flat and then linear
    over the last `decay` of all steps; Hu et al. 2024, arXiv:2404.06395) or constant. The end is `final_lr`.
    """
    warmup, floor = config.warmup_steps, config.final_lr
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "wsd":
        decaying = max(1, round(config.decay * config.steps))
        x = (step + 1 - max(warmup, config.steps - decaying)) / decaying
    else:
        x = (step + 1 - warmup) / (config.steps - warmup)
    x = min(1.0, max(0.0, x))
    if config.schedule == "cosine":
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * x))
    return floor + (1 - floor) * (1 - x)


@dataclass(frozen=True)
class Shape:
    """What one optimizer step takes from the data."""

    first: int
    """Number of windows (of `TrainConfig.sequence` tokens) that all steps before it took."""
    windows: int
    """Number of windows this step takes."""
    batch: int
    """Sequences they are cut into."""
    sequence: int
    """Tokens of each."""


def shape(config: TrainConfig, step: int) -> Shape:
    """The batch of `step` (counted from 0): which windows, cut how."""
    first = 0
    for phase in config.phases:
        windows = phase.batch * phase.sequence // config.sequence
        if step < phase.steps:
            return Shape(first + step * windows, windows, phase.batch, phase.sequence)
        step -= phase.steps
        first += phase.steps * windows
    return Shape(first + step * config.batch, config.batch, config.batch, config.sequence)
