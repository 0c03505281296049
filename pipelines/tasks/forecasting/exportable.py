"""A forecaster as the `forward` engine runs it: from the data's own units to the data's own units."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data.codecs import decode
from pipelines.tasks.forecasting.network import Answers, load
from pipelines.tasks.forecasting.scores import scores
from pipelines.tasks.forecasting.windows import Windows
from pipelines.tasks.interface import Forward, Predict, Primary
from pipelines.tasks.supervised.examples import some

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

BATCH = 64


def exportable(recipe: "Recipe", checkpoint: Path, prepared: Path) -> Forward:
    """What the exporter takes. Golden items are spread over the test split."""
    test = Windows(prepared, "test")
    network = load(recipe.model, test.index, checkpoint)
    primary, mean, std = recipe.evaluate.primary, network.entry.mean.numpy(), network.entry.std.numpy()

    def quality(run: Predict, most: int) -> dict[str, float]:
        given = np.concatenate([run(batch)[test.output.name] for batch in batches(test, most)])
        targets = (test.targets(some(len(test), most)) - mean) / std
        found = scores((given - mean[:, None]) / std[:, None], targets, test.output.quantiles)
        return {primary: found[primary], **found, "items": len(given)}

    def examples(split: str, most: int) -> Iterator[dict[str, NDArray[Any]]]:
        return batches(test if split == "test" else Windows(prepared, split), most)

    places = np.unique(np.linspace(0, len(test) - 1, recipe.export.golden).astype(np.int64))
    return Forward(
        model=Answers(network).eval(),
        pre=None,
        golden=tuple((test.raw(int(place)),) for place in places),
        decode=lambda raw: {test.input.name: decode(test.input, raw[0])[None]},
        examples=examples,
        quality=quality,
        primary=Primary(f"test.{primary}", "lower", f"baselines.floor_{primary}"),
        signature=test.signature,
        optional=frozenset({"int8"} if recipe.serving.precision == "auto" else ()),
    )


def batches(windows: Windows, most: int) -> Iterator[dict[str, NDArray[Any]]]:
    """At most `most` windows (see `some`) in batches."""
    rows = some(len(windows), most)
    for at in range(0, len(rows), BATCH):
        yield {windows.input.name: windows.inputs(rows[at : at + BATCH])}
