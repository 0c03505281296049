"""An embedder as the `forward` engine runs it: frame, pooling and normalisation inside the graph."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.tasks.embedding.imported import read
from pipelines.tasks.embedding.measure import PRIMARY
from pipelines.tasks.embedding.pairs import Pairs, cosines, embedded, spearman
from pipelines.tasks.interface import Forward, Predict
from pipelines.tasks.supervised.examples import some

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe


def exportable(recipe: "Recipe", checkpoint: Path, prepared: Path) -> Forward:
    """What the exporter takes. Golden items are the first texts of pairs spread over the test split."""
    test = Pairs(prepared, "test")
    name = test.signature.inputs[0].name
    places = np.unique(np.linspace(0, len(test) - 1, recipe.export.golden).astype(np.int64))

    def quality(run: Predict, most: int) -> dict[str, float]:
        vectors = embedded(run, test, most)
        return {"spearman": spearman(cosines(vectors), test.scores[some(len(test), most)]), "items": len(vectors)}

    def examples(split: str, most: int) -> Iterator[dict[str, NDArray[Any]]]:
        pairs = test if split == "test" else Pairs(prepared, split, most)
        for place in some(len(pairs), most).tolist():
            yield {name: pairs.decode(pairs.texts[place][0])[None]}

    return Forward(
        model=read(recipe, prepared, checkpoint),
        pre=None,
        golden=tuple((test.texts[int(place)][0].encode(),) for place in places),
        decode=lambda raw: {name: test.decode(raw[0])[None]},
        examples=examples,
        quality=quality,
        primary=PRIMARY,
        signature=test.signature,
        optional=frozenset({"int8"} if recipe.serving.precision == "auto" else ()),
    )
