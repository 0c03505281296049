"""Judge an embedder on the test split: how cosines of pairs rank beside people's scores, and what words alone give."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from base.files import write_json
from data.drift import reference
from pipelines.tasks.bootstrap import interval
from pipelines.tasks.embedding.imported import read
from pipelines.tasks.embedding.pairs import Pairs, cosines, spearman
from pipelines.tasks.interface import Measured, Primary
from pipelines.tasks.supervised.examples import padded
from pipelines.tasks.supervised.predict import predict

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

PRIMARY = Primary("test.spearman", "higher", "baselines.tfidf_spearman")
WORD = re.compile(r"\w+")


def measure(recipe: "Recipe", checkpoint: Path, prepared: Path, folder: Path) -> Measured:
    """See the module."""
    train, test = Pairs(prepared, "train"), Pairs(prepared, "test")
    tokens = [test.decode(text) for pair in test.texts for text in pair]
    vectors = predict(read(recipe, prepared, checkpoint), padded([each.tolist() for each in tokens]))
    found = cosines(vectors.reshape(len(test), 2, -1))

    def judge(rows: NDArray[np.int64]) -> float:
        return spearman(found[rows], test.scores[rows])

    low, high = interval(judge, np.arange(len(test)), recipe.evaluate.resamples)
    values = {"spearman": spearman(found, test.scores), "spearman_low": low, "spearman_high": high, "pairs": len(test)}
    baselines = {
        "tfidf_spearman": spearman(tfidf(train, test), test.scores),
        "overlap_spearman": spearman(overlap(test), test.scores),
    }
    drift = reference(test.signature, ((each,) for each in tokens), ((row,) for row in vectors))
    write_json(folder / "reference.json", drift)
    return Measured(values, PRIMARY, baselines)


def tfidf(train: Pairs, test: Pairs) -> NDArray[np.float64]:
    """Cosines of TF-IDF over words, fitted on the texts of train."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    model = TfidfVectorizer(sublinear_tf=True, token_pattern=WORD.pattern)
    model.fit(text for pair in train.texts for text in pair)
    first, second = (model.transform(side) for side in zip(*test.texts, strict=True))
    return np.asarray(first.multiply(second).sum(1), np.float64).reshape(-1)


def overlap(test: Pairs) -> NDArray[np.float64]:
    """Words that two texts share, of all that they have (Jaccard 1901)."""
    words = [[set(WORD.findall(text.lower())) for text in pair] for pair in test.texts]
    return np.array([len(one & other) / max(1, len(one | other)) for one, other in words])
