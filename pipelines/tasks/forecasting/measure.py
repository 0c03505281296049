"""Judge a checkpoint on every window of the test split: values, naive forecasts, pictures, drift reference."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from base.files import write_json
from data.drift import reference
from models.common.series import SeriesEntry
from pipelines.tasks.forecasting import naive, pictures
from pipelines.tasks.forecasting.network import Answers, load
from pipelines.tasks.forecasting.scores import same_everywhere, scores
from pipelines.tasks.forecasting.windows import Windows
from pipelines.tasks.interface import Measured, Primary

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

BATCH = 256
REFERENCE = 1000  # windows of the drift reference, spread over the split


def measure(recipe: "Recipe", checkpoint: Path, prepared: Path, folder: Path) -> Measured:
    """See the module."""
    test = Windows(prepared, "test")
    network = load(recipe.model, test.index, checkpoint)
    answers = predictions(Answers(network), test)
    mean, std = network.entry.mean.numpy(), network.entry.std.numpy()
    targets = (test.targets(np.arange(len(test))) - mean) / std
    standard = (answers - mean[:, None]) / std[:, None]
    quantiles, primary = test.output.quantiles, recipe.evaluate.primary
    values = scores(standard, targets, quantiles)
    baselines = _naive(network.entry, test, targets)
    groups = {}
    for place, name in enumerate(test.output.channels):
        known = ~np.isnan(targets[..., place])
        if known.any():
            found = scores(standard[:, :, place], targets[..., place], quantiles)
            rmse = float(np.sqrt(found["mse"]) * std[place])
            groups[f"channel={name}"] = {primary: found[primary], **found, "rmse": rmse, "items": int(known.sum())}
    pictures.backtest(folder / "backtest.png", test, answers)
    pictures.errors(folder / "errors.png", standard, targets)
    some = np.unique(np.linspace(0, len(test) - 1, REFERENCE).astype(np.int64))
    inputs, outputs = ((row,) for row in test.inputs(some)), ((row,) for row in answers[some])
    write_json(folder / "reference.json", reference(test.signature, inputs, outputs))
    chosen = Primary(f"test.{primary}", "lower", f"baselines.floor_{primary}")
    return Measured({**values, "items": len(test)}, chosen, baselines, groups)


def predictions(answers: torch.nn.Module, windows: Windows) -> NDArray[np.float32]:
    """Forecasts of all windows [windows, horizon, channels, levels]; the module is put into evaluation mode."""
    answers.eval()
    with torch.no_grad():
        return np.concatenate([
            answers(torch.from_numpy(windows.inputs(np.arange(at, min(at + BATCH, len(windows)))))).numpy()
            for at in range(0, len(windows), BATCH)
        ])  # fmt: skip


def _naive(entry: SeriesEntry, test: Windows, targets: NDArray[Any]) -> dict[str, float]:
    """The values of both naive forecasts, and of the better one as `floor`."""
    with torch.no_grad():
        histories = entry(torch.from_numpy(test.inputs(np.arange(len(test))))).transpose(1, 2).numpy()
    season, quantiles = int(test.index["fitted"]["season"]), test.output.quantiles
    found: dict[str, float] = {}
    for name, made in (
        ("repeat_last", naive.repeat_last(histories, test.horizon)),
        ("seasonal_naive", naive.seasonal(histories, test.horizon, season)),
    ):
        each = scores(same_everywhere(made, quantiles), targets, quantiles)
        found |= {f"{name}_{value}": each[value] for value in ("mse", "mae", "quantile_loss")}
    floor = {f"floor_{value}": min(found[f"repeat_last_{value}"], found[f"seasonal_naive_{value}"])
             for value in ("mse", "mae", "quantile_loss")}  # fmt: skip
    return floor | found
