"""A segmenter as the `forward` engine runs it: BatchNorm folded, softmax inside, images of any size by pre.onnx."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data.signature import ImageInput
from models.common.layers import fold
from models.common.resize import Resize
from pipelines.tasks.interface import Forward, Predict
from pipelines.tasks.segmentation.network import Answers, load
from pipelines.tasks.segmentation.pairs import Pairs
from pipelines.tasks.segmentation.scores import primary, scores, subject
from pipelines.tasks.supervised.examples import some

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe


def exportable(recipe: "Recipe", checkpoint: Path, prepared: Path) -> Forward:
    """What the exporter takes. Golden items are spread over the test split."""
    test = Pairs(prepared, "test", recipe.data.labels)
    network = load(recipe.model, test.index, checkpoint)
    fold(network)
    declared, chosen = test.signature.inputs[0], primary(recipe)
    assert isinstance(declared, ImageInput)
    name = chosen.metric.removeprefix("test.")

    def quality(run: Predict, most: int) -> dict[str, float]:
        given = np.concatenate([run(batch)[test.output.name].argmax(1) for batch in batches(test, most)])
        found = scores(given, test.masks[some(len(test), most)], len(test.output.labels), subject(recipe))
        return {name: found[name], **found, "items": len(given)}

    def examples(split: str, most: int) -> Iterator[dict[str, NDArray[Any]]]:
        return batches(test if split == "test" else Pairs(prepared, split, recipe.data.labels, most), most)

    places = np.unique(np.linspace(0, len(test) - 1, recipe.export.golden).astype(np.int64))
    return Forward(
        model=Answers(network).eval(),
        pre=Resize(declared.height, declared.width).eval(),
        golden=tuple(test.raw(int(place)) for place in places),
        decode=lambda raw: {declared.name: test.decode(raw[0])[None]},
        examples=examples,
        quality=quality,
        primary=chosen,
        signature=test.signature,
        optional=frozenset({"int8"} if recipe.serving.precision == "auto" else ()),
    )


def batches(pairs: Pairs, most: int) -> Iterator[dict[str, NDArray[Any]]]:
    """At most `most` images (see `some`), one by one: their activations are large."""
    for row in some(len(pairs), most):
        yield {pairs.signature.inputs[0].name: pairs.inputs[row][None]}
