"""A checkpoint as the `forward` engine runs it: BatchNorm folded, softmax and de-normalisation inside."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from data.signature import ImageInput, LabelsOutput, Signature
from models.common.layers import fold
from models.common.resize import Resize
from pipelines.tasks.interface import Forward, Predict
from pipelines.tasks.supervised import metrics
from pipelines.tasks.supervised.examples import Examples, some
from pipelines.tasks.supervised.network import Answers, load

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

BATCH = 64


def exportable(recipe: "Recipe", checkpoint: Path, prepared: Path) -> Forward:
    """What the exporter takes. Golden items are spread over the test split."""
    test = Examples(prepared, "test")
    network, facts = load(recipe.model, test.index, checkpoint)
    fold(network)
    signature = with_threshold(test.signature, facts.get("threshold"))
    output, declared = signature.outputs[0], signature.inputs[0]
    chosen = metrics.primary(recipe.evaluate.primary, labels=isinstance(output, LabelsOutput))
    name = chosen.metric.removeprefix("test.")

    def quality(run: Predict, most: int) -> dict[str, float]:
        given = np.concatenate([run(batch)[output.name] for batch in batches(test, most)])
        targets = test.targets[some(len(test), most)]
        found = (
            metrics.classification(given, targets, facts.get("threshold"))
            if isinstance(output, LabelsOutput)
            else metrics.regression(given, targets)
        )
        return {name: found[name], **found, "items": len(given)}

    def examples(split: str, most: int) -> Iterator[dict[str, NDArray[Any]]]:
        return batches(test if split == "test" else Examples(prepared, split, most), most)

    pre: nn.Module | None = None
    if isinstance(declared, ImageInput):
        pre = Resize(declared.height, declared.width).eval()
    places = np.unique(np.linspace(0, len(test) - 1, recipe.export.golden).astype(np.int64))
    return Forward(
        model=Answers(network, isinstance(output, LabelsOutput)).eval(),
        pre=pre,
        golden=tuple(test.raw(int(place)) for place in places),
        decode=lambda raw: {declared.name: test.decode(raw[0])[None]},
        examples=examples,
        quality=quality,
        primary=chosen,
        signature=signature,
        optional=frozenset({"int8"} if recipe.serving.precision == "auto" else ()),
    )


def with_threshold(signature: Signature, threshold: float | None) -> Signature:
    """The signature with the threshold between two labels that was chosen on the validation split."""
    output = signature.outputs[0]
    if threshold is None or not isinstance(output, LabelsOutput):
        return signature
    return signature.model_copy(update={"outputs": (output.model_copy(update={"threshold": threshold}),)})


def batches(examples: Examples, most: int) -> Iterator[dict[str, NDArray[Any]]]:
    """At most `most` examples (see `some`) in batches; text in batches of one length each, as serving makes them."""
    name, rows = examples.signature.inputs[0].name, some(len(examples), most)
    if examples.signature.inputs[0].kind != "text":
        for at in range(0, len(rows), BATCH):
            yield {name: examples.inputs[rows[at : at + BATCH]]}
        return
    for row in examples.inputs[rows]:
        yield {name: row[None, : max(1, int((row != 0).sum()))]}
