"""A masked-language model as the `forward` engine runs it: frame, head and softmax inside the graph."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.tasks.interface import Forward, Predict
from pipelines.tasks.masked_language.blanks import Blanks
from pipelines.tasks.masked_language.measure import PRIMARY, answering, load
from pipelines.tasks.supervised.examples import some

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

LEAST = 1e-12  # a probability counts at least this much


def exportable(recipe: "Recipe", checkpoint: Path, prepared: Path) -> Forward:
    """What the exporter takes. Golden items are texts spread over the test split with one word hidden in each, and
    forms are judged by the loss on such."""
    config = recipe.export
    test = Blanks(recipe, prepared, "test", max(config.int8_items, config.golden))
    name, output = test.signature.inputs[0].name, test.signature.outputs[0].name
    places = np.unique(np.linspace(0, len(test) - 1, config.golden).astype(np.int64)).tolist()

    def examples(split: str, most: int) -> Iterator[dict[str, NDArray[Any]]]:
        return (test if split == "test" else Blanks(recipe, prepared, split, most)).batches(most)

    def quality(run: Predict, most: int) -> dict[str, float]:
        targets = [test.items[number].target for number in some(len(test), most).tolist()]
        scores = [run(batch)[output][0] for batch in test.batches(most)]
        nats = [-np.log(max(float(row[target]), LEAST)) for row, target in zip(scores, targets, strict=True)]
        right = [int(row.argmax()) == target for row, target in zip(scores, targets, strict=True)]
        return {"masked_loss": float(np.mean(nats)), "accuracy": float(np.mean(right)), "items": len(nats)}

    return Forward(
        model=answering(load(checkpoint, prepared), prepared),
        pre=None,
        golden=tuple((test.items[place].text.encode(),) for place in places),
        decode=lambda raw: {name: test.decode(raw[0])[None]},
        examples=examples,
        quality=quality,
        primary=PRIMARY,
        signature=test.signature,
        optional=frozenset({"int8"} if recipe.serving.precision == "auto" else ()),
    )
