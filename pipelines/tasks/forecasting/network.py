"""The network of a forecaster: fitted scales, the recipe's model, and the way to a forecast in the data's own units."""

from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from base.errors import MetrolineError
from models.common.series import SeriesEntry
from pipelines.tasks.supervised.begin import module_of
from pipelines.tasks.supervised.network import fill, signature_of

if TYPE_CHECKING:
    from pydantic import BaseModel

LEAST = 0.05
"""Smallest spread of a history, on the standard scale: a channel that stood still may move."""


class Forecaster(nn.Module):
    """Histories [B, context, channels] → the mean [B, horizon, channels] on the standard scale, deviations of the
    quantiles from it [B, horizon, channels, quantiles] and the histories' spread [B, 1, channels, 1], in which they are
    counted: what moved much may move much.

    `offsets`: what is added to the deviations, chosen on the validation split (`calibrate.py`).
    """

    offsets: Tensor
    normal: Tensor

    def __init__(
        self, entry: SeriesEntry, body: nn.Module, shape: tuple[int, ...], quantiles: tuple[float, ...]
    ) -> None:
        super().__init__()
        self.entry, self.body = entry, body
        self.register_buffer("offsets", torch.zeros(*shape[:2], len(quantiles)))
        normal = torch.tensor([0.5 * NormalDist().inv_cdf(each) for each in quantiles])
        self.register_buffer("normal", normal, persistent=False)

    def forward(self, history: Tensor, seed: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        scaled = self.entry(history)
        made = self.body(scaled, seed).permute(0, 2, 1, 3).float()
        centred = scaled - scaled.mean(2, keepdim=True)
        spread = centred.square().mean(2).sqrt() + LEAST
        return made[..., 0], made[..., 1:] + self.normal, spread[:, None, :, None]


class Answers(nn.Module):
    """What is exported: histories → the mean and the quantiles in the data's own units [B, horizon, channels, levels].

    Quantiles that cross are put in order (Chernozhukov et al. 2010, arXiv:0704.3649).
    """

    def __init__(self, network: Forecaster, *, standard: bool = False) -> None:
        """`standard`: the answers stay on the standard scale, as they are judged."""
        super().__init__()
        self.network, self.standard = network, standard

    def forward(self, history: Tensor) -> Tensor:
        """See the class."""
        mean, deviations, spread = self.network(history)
        quantiles = mean[..., None] + spread * (deviations + self.network.offsets)
        made = torch.cat([mean[..., None], quantiles.sort(dim=3).values], 3)
        if self.standard:
            return made
        return made * self.network.entry.std[:, None] + self.network.entry.mean[:, None]


def build(model: "BaseModel", index: dict[str, Any], generator: torch.Generator) -> Forecaster:
    """The network with its first weights for prepared data. Raises MetrolineError: a model that forecasts nothing, or
    cannot take such a history."""
    history, forecast = signature_of(index).inputs[0], signature_of(index).outputs[0]
    module = module_of(model.kind)  # type: ignore[attr-defined]
    if not hasattr(module, "forecaster"):
        raise MetrolineError(f"model.kind: {model.kind} forecasts no series")  # type: ignore[attr-defined]
    context, channels = history.shape
    horizon, _, levels = forecast.shape
    try:
        body = module.forecaster(model, channels, context, horizon, levels, generator)
    except (ValueError, RuntimeError) as error:
        raise MetrolineError(f"model: {' '.join(str(error).split())}") from None
    return Forecaster(SeriesEntry(index["fitted"]), body, forecast.shape, forecast.quantiles)  # type: ignore[union-attr]


def load(model: "BaseModel", index: dict[str, Any], checkpoint: Path) -> Forecaster:
    """The trained network in evaluation mode. Raises MetrolineError: none there, or of another recipe."""
    network = build(model, index, torch.Generator())
    fill(network, checkpoint)
    return network
