"""An index as the `retrieve` engine searches it."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.tasks.index.measure import embedded
from pipelines.tasks.index.questions import questions, sentences
from pipelines.tasks.index.searched import Searched
from pipelines.tasks.interface import Retrieve

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe


def exportable(recipe: "Recipe", checkpoint: Path, prepared: Path) -> Retrieve:
    """What the exporter takes. Golden queries are questions of the test split, or sentences, spread over all."""
    index = Searched(checkpoint)
    asked = questions(prepared, "test") or sentences(index.passages, recipe.export.golden, index.embedder)
    places = np.unique(np.linspace(0, len(asked) - 1, min(len(asked), recipe.export.golden)).astype(np.int64))
    kept = [asked[place] for place in places.tolist()]
    queries = tuple((each.text, vector) for each, vector in zip(kept, embedded(index, kept), strict=True))
    return Retrieve(checkpoint, queries, index.config)
