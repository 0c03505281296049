"""A split's pairs of texts, decoded once, and how well vectors of them agree with people."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from data.codecs import decode
from data.records import Records
from data.signature import Signature
from data.text.tokenizer import Tokenizer
from pipelines.tasks.interface import Predict
from pipelines.tasks.supervised.examples import some


class Pairs:
    """One split. Raises MetrolineError: not prepared, damaged."""

    def __init__(self, prepared: Path, split: str, most: int | None = None) -> None:
        self.records = Records(prepared, split)
        self.signature = Signature.model_validate(self.records.index["signature"])
        self.tokenizer = Tokenizer.load(prepared / "tokenizer.json")
        places = some(len(self.records), most)
        self.scores: NDArray[np.float64] = np.asarray(self.records.targets, np.float64)[places]
        raws = [self.records.inputs(number) for number in places.tolist()]
        self.texts = [(first.decode(), second.decode()) for first, second in raws]

    def __len__(self) -> int:
        return len(self.texts)

    def decode(self, text: str | bytes) -> NDArray[Any]:
        """Token ids int64 [n], as serving makes them."""
        return decode(self.signature.inputs[0], text, self.tokenizer)


def embedded(run: Predict, pairs: Pairs, most: int | None = None) -> NDArray[np.float32]:
    """Vectors float32 [pairs, 2, W] of at most `most` pairs (see `some`), each text run alone, as long as it is."""
    kept = [pairs.texts[place] for place in some(len(pairs), most).tolist()]
    name, output = pairs.signature.inputs[0].name, pairs.signature.outputs[0].name
    known: dict[str, NDArray[Any]] = {}
    for text in dict.fromkeys(text for pair in kept for text in pair):
        known[text] = run({name: pairs.decode(text)[None]})[output][0]
    return np.array([[known[first], known[second]] for first, second in kept], np.float32)


def cosines(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """[pairs, 2, W] of length 1 → [pairs]."""
    wide = vectors.astype(np.float64)
    found: NDArray[np.float64] = (wide[:, 0] * wide[:, 1]).sum(1)
    return found


def spearman(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    """Rank correlation (Spearman 1904), equal values at the mean of their ranks; NaN where one side is constant."""
    if np.ptp(found) == 0 or np.ptp(wanted) == 0:
        return float("nan")
    return float(spearmanr(found, wanted).statistic)
