"""The released reranker of an index: how well chunks answer a question."""

from collections.abc import Sequence
from pathlib import Path

from base.errors import MetrolineError
from data.codecs import decode
from data.index.reranked import Pairs
from data.signature import LabelsOutput, TextInput
from data.text.cut import first_tokens
from pipelines.tasks.index.released import Released

FOLDER = "reranker"
"""Where it lies in the checkpoint and bundle of an index that has one."""


class Reranker(Released):
    """The reranker in a bundle. Raises MetrolineError: no reranker, or damaged."""

    def __init__(self, bundle: Path) -> None:
        super().__init__(bundle)
        signature = self.signature
        first, second = (*signature.inputs, *signature.inputs)[:2]
        if signature.task != "text-ranking" or not isinstance(first, TextInput) or not isinstance(second, TextInput):
            raise MetrolineError(f"{bundle}: its {signature.task} ranks no documents", hint="as minilm-rerank does")
        assert isinstance(signature.outputs[0], LabelsOutput)
        self._texts = (first, second)

    def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """How well each text answers, 0 to 1."""
        lengths = (self._texts[0].length, self._texts[1].length)
        pairs = Pairs(question, texts, lambda text, most: first_tokens(text, most, self.tokenizer), lengths)
        return pairs.best([self._score(*each) for each in pairs.items])

    def _score(self, question: str, text: str) -> float:
        sides = zip(self._texts, (question, text), strict=True)
        return float(self.run(*(decode(declared, each, self.tokenizer) for declared, each in sides))[1])
