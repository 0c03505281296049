"""Judge a checkpoint on the test split: values, blobs of colour as floor, labels, a picture, the drift reference."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from base.files import read_object, write_json
from data.boxes import SCORE
from data.drift import reference
from data.signature import BoxesOutput
from pipelines.tasks.detection.boxed import Boxed
from pipelines.tasks.detection.floor import blobs
from pipelines.tasks.detection.network import Answers, load
from pipelines.tasks.detection.scores import at_threshold, average_precision, primary
from pipelines.tasks.interface import Measured
from pipelines.tasks.supervised.network import CONFIG

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

SHOWN = 4  # images of the picture


def measure(recipe: "Recipe", checkpoint: Path, prepared: Path, folder: Path) -> Measured:
    """See the module."""
    train, test = Boxed(prepared, "train"), Boxed(prepared, "test")
    output = chosen(test.output, checkpoint)
    answers = Answers(load(recipe.model, test.index, checkpoint), output).eval()
    with torch.no_grad():
        given = [answers(torch.from_numpy(image[None]))[0].numpy() for image in test.inputs]
    sizes, labels = [test.size(number) for number in range(len(test))], output.labels
    values, each = average_precision(given, test.boxes, sizes, len(labels))
    values |= at_threshold(given, test.boxes, output.threshold)
    others = blobs(train, test)
    floor, _ = average_precision(others, test.boxes, sizes, len(labels))
    floor |= at_threshold(others, test.boxes, 0.0)
    groups = {
        f"label={label}": {
            "map50": each[place],
            "items": sum(int((boxes[:, -1] == place).sum()) for boxes in test.boxes),
        }
        for place, label in enumerate(labels)
        if np.isfinite(each[place])
    }
    _picture(folder / "boxes.png", test, given, output)
    inputs = ((test.decode(test.raw(number)[0]),) for number in range(len(test)))
    signature = test.signature.model_copy(update={"outputs": (output,)})
    write_json(folder / "reference.json", reference(signature, inputs, ((rows,) for rows in given)))
    return Measured(
        {**values, "items": len(test)},
        primary(recipe),
        {f"floor_{name}": value for name, value in floor.items()},
        groups,
    )


def chosen(output: BoxesOutput, checkpoint: Path) -> BoxesOutput:
    """The output with the threshold that was chosen when the checkpoint was saved."""
    threshold = float(read_object(checkpoint / CONFIG, hint="train again")["threshold"])
    return output.model_copy(update={"threshold": max(threshold, output.least)})


def _picture(path: Path, test: Boxed, given: list[NDArray[Any]], output: BoxesOutput) -> None:
    """The first images, with their boxes (left) and those that were found (right)."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    count = min(SHOWN, len(test))
    figure = Figure(figsize=(8, 3.1 * count), layout="constrained")
    grid = figure.subplots(count, 2, squeeze=False)
    for row in range(count):
        height, width = test.inputs.shape[1:3]
        there = given[row][given[row][:, SCORE] >= output.threshold]
        for axes, boxes, words in zip(grid[row], (test.boxes[row], there), ("boxes", "found"), strict=True):
            axes.imshow(test.inputs[row].squeeze(), cmap="gray")
            axes.set_axis_off()
            for box in boxes:
                x1, y1, x2, y2 = box[:4] * [width, height, width, height]
                colour = f"C{int(box[-1])}"
                axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=1.4))
                axes.text(x1, y1, output.labels[int(box[-1])], color=colour, fontsize=6, va="bottom")
            if row == 0:
                axes.set_title(words)
    figure.savefig(path, dpi=100, metadata={"Software": None})
