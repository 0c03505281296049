"""Judge a checkpoint on the test split: values, the best threshold as floor, labels, pictures, the drift reference."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from base.files import write_json
from data.drift import reference
from pipelines.tasks.interface import Measured
from pipelines.tasks.segmentation.network import Answers, load
from pipelines.tasks.segmentation.pairs import Pairs
from pipelines.tasks.segmentation.scores import by_threshold, primary, scores, subject, threshold

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

SHOWN = 3  # images of a picture


def measure(recipe: "Recipe", checkpoint: Path, prepared: Path, folder: Path) -> Measured:
    """See the module."""
    train, test = (Pairs(prepared, split, recipe.data.labels) for split in ("train", "test"))
    answers = Answers(load(recipe.model, test.index, checkpoint)).eval()
    with torch.no_grad():
        given = [answers(torch.from_numpy(image[None]))[0].numpy() for image in test.inputs]
    masks = np.stack([each.argmax(0) for each in given])
    labels, place = test.output.labels, subject(recipe)
    values = scores(masks, test.masks, len(labels), place)
    floor = by_threshold([*test.inputs], threshold([*train.inputs], train.masks, len(labels)))
    baselines = {f"floor_{name}": value for name, value in scores(floor, test.masks, len(labels), place).items()}
    groups = {}
    for number, label in enumerate(labels):
        found = scores(masks, test.masks, len(labels), number)
        groups[f"label={label}"] = {recipe.evaluate.primary: found[recipe.evaluate.primary], "dice": found["dice"],
                                    "items": int((test.masks == number).sum())}  # fmt: skip
    _picture(folder / "masks.png", test, masks)
    inputs = ((test.decode(test.raw(number)[0]),) for number in range(len(test)))
    write_json(folder / "reference.json", reference(test.signature, inputs, ((each,) for each in given)))
    return Measured({**values, "items": len(test)}, primary(recipe), baselines, groups)


def _picture(path: Path, test: Pairs, masks: NDArray[Any]) -> None:
    """The first images, their masks, and what was found."""
    from matplotlib.figure import Figure

    count = min(SHOWN, len(test))
    figure = Figure(figsize=(7.5, 2.6 * count), layout="constrained")
    grid = figure.subplots(count, 3, squeeze=False)
    for row in range(count):
        drawn = (test.inputs[row].squeeze(), test.masks[row], masks[row])
        for axes, picture, words in zip(grid[row], drawn, ("image", "mask", "answer"), strict=True):
            axes.imshow(picture, cmap="gray" if words == "image" else "viridis", interpolation="nearest")
            axes.set_axis_off()
            if row == 0:
                axes.set_title(words)
    figure.savefig(path, dpi=100, metadata={"Software": None})
