"""Quantiles that mean what they say: shifted until so many values of the validation split lie below each.

Split conformal prediction for quantiles (Romano et al. 2019, arXiv:1905.03222), one shift for each step ahead, channel
and quantile, in units of the history's spread.
"""

import numpy as np
import torch

from pipelines.tasks.forecasting.network import Forecaster
from pipelines.tasks.forecasting.windows import Windows

BATCH = 256
FEWEST = 20  # windows below which nothing is chosen


@torch.no_grad()
def calibrate(network: Forecaster, valid: Windows) -> None:
    """Set the network's `offsets`; it must be in evaluation mode."""
    if len(valid) < FEWEST:
        return
    mean, std = network.entry.mean.numpy(), network.entry.std.numpy()
    parts = []
    for at in range(0, len(valid), BATCH):
        rows = np.arange(at, min(at + BATCH, len(valid)))
        centre, deviations, spread = network(torch.from_numpy(valid.inputs(rows)))
        wanted = torch.from_numpy((valid.targets(rows) - mean) / std)
        parts.append(((wanted - centre)[..., None] / spread - deviations).numpy())
    misses = np.concatenate(parts)  # [windows, horizon, channels, quantiles]
    there = ~np.isnan(misses[..., 0]).all(0)
    for place, level in enumerate(valid.output.quantiles):
        shift = np.nanquantile(misses[..., place][:, there], level, axis=0)
        network.offsets[..., place][torch.from_numpy(there)] = torch.from_numpy(shift.astype(np.float32))
