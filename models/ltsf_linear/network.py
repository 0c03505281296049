"""Linear forecasters (Zeng et al. 2023, arXiv:2205.13504): the next steps are weighted sums of the last ones.

NLinear takes the last value off first and adds it again; DLinear has weights of their own for the moving average and
for what is left. On the usual benchmarks they are as good as the first transformers for series, in seconds.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.ltsf_linear.config import Config


class Linear(nn.Module):
    """[B, channels, context] → [B, channels, horizon, levels]"""

    def __init__(self, config: Config, context: int, horizon: int, levels: int) -> None:
        super().__init__()
        self.form, self.kernel = config.form, config.kernel | 1
        self.horizon, self.levels = horizon, levels
        self.head = nn.Linear(context, horizon * levels)
        self.trend = nn.Linear(context, horizon * levels) if config.form == "dlinear" else None
        for layer in (self.head, self.trend):
            if layer is not None:
                nn.init.zeros_(layer.bias)
                with torch.no_grad():  # the first forecast: the mean of the history, with no spread
                    layer.weight.view(horizon, levels, context).copy_(_first(levels, context))

    def forward(self, x: Tensor, seed: Tensor | None = None) -> Tensor:
        """See the class."""
        shape = (*x.shape[:2], self.horizon, self.levels)
        if self.trend is not None:
            half = self.kernel // 2
            trend = functional.avg_pool1d(functional.pad(x, (half, half), mode="replicate"), self.kernel, 1)
            split: Tensor = self.head(x - trend) + self.trend(trend)
            return split.view(shape)
        if self.form == "linear":
            plain: Tensor = self.head(x)
            return plain.view(shape)
        last = x[:, :, -1:]
        made: Tensor = self.head(x - last).view(shape)
        return made + functional.pad(last[..., None], (0, self.levels - 1))  # to the mean alone


def _first(levels: int, context: int) -> Tensor:
    first = torch.zeros(levels, context)
    first[0] = 1 / context
    return first


def forecaster(
    config: Config, channels: int, context: int, horizon: int, levels: int, generator: torch.Generator
) -> Linear:
    """The network with its first weights, which need no random numbers."""
    return Linear(config, context, horizon, levels)
