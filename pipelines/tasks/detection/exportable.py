"""A detector as the `forward` engine runs it: BatchNorm folded, NMS inside, images of any size by pre.onnx."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data.signature import ImageInput
from models.common.layers import fold
from models.common.resize import Resize
from pipelines.tasks.detection.boxed import Boxed
from pipelines.tasks.detection.measure import chosen
from pipelines.tasks.detection.network import Answers, load
from pipelines.tasks.detection.scores import average_precision, primary
from pipelines.tasks.interface import Forward, Predict
from pipelines.tasks.supervised.examples import some

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe


def exportable(recipe: "Recipe", checkpoint: Path, prepared: Path) -> Forward:
    """What the exporter takes. Golden items are spread over the test split."""
    test = Boxed(prepared, "test")
    output = chosen(test.output, checkpoint)
    network = load(recipe.model, test.index, checkpoint)
    fold(network)
    declared, best = test.signature.inputs[0], primary(recipe)
    assert isinstance(declared, ImageInput)
    name = best.metric.removeprefix("test.")

    def quality(run: Predict, most: int) -> dict[str, float]:
        places = some(len(test), most).tolist()
        given = [run(batch)[output.name][0] for batch in batches(test, most)]
        values, _ = average_precision(
            given, [test.boxes[place] for place in places], [test.size(place) for place in places], len(output.labels)
        )
        return {name: values[name], **values, "items": len(given)}

    def examples(split: str, most: int) -> Iterator[dict[str, NDArray[Any]]]:
        return batches(test if split == "test" else Boxed(prepared, split, most), most)

    places = np.unique(np.linspace(0, len(test) - 1, recipe.export.golden).astype(np.int64))
    return Forward(
        model=Answers(network, output).eval(),
        pre=Resize(declared.height, declared.width).eval(),
        golden=tuple(test.raw(int(place)) for place in places),
        decode=lambda raw: {declared.name: test.decode(raw[0])[None]},
        examples=examples,
        quality=quality,
        primary=best,
        signature=test.signature.model_copy(update={"outputs": (output,)}),
        optional=frozenset({"int8"} if recipe.serving.precision == "auto" else ()),
    )


def batches(boxed: Boxed, most: int) -> Iterator[dict[str, NDArray[Any]]]:
    """At most `most` images (see `some`), one by one: their activations are large."""
    for row in some(len(boxed), most):
        yield {boxed.signature.inputs[0].name: boxed.inputs[row][None]}
