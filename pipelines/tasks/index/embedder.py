"""The released embedder of an index: texts → vectors."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from base.errors import BadItem, MetrolineError
from data.codecs import decode
from data.signature import TextInput, VectorOutput
from pipelines.tasks.index.released import Released

FOLDER = "embedder"
"""Where it lies in the checkpoint and bundle of an index: a bundle with one graph."""


class Embedder(Released):
    """The embedder in a bundle. Raises MetrolineError: no embedder, or damaged."""

    def __init__(self, bundle: Path) -> None:
        super().__init__(bundle)
        text, vector = self.signature.inputs[0], self.signature.outputs[0]
        if not isinstance(text, TextInput) or not isinstance(vector, VectorOutput):
            raise MetrolineError(
                f"{bundle}: its {self.signature.task} makes no vector of a text", hint="as minilm does"
            )
        self.text: TextInput = text

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(self.tokenizer.encode(text))

    def fits(self, text: str) -> bool:
        """Whether the embedder takes it as a document."""
        try:
            decode(self.text, self.text.document_prefix + text, self.tokenizer)
        except BadItem:
            return False
        return True

    def document(self, text: str) -> NDArray[np.float32]:
        """The vector [W] of a text that is searched. Raises BadItem: too long, empty."""
        return self._vector(self.text.document_prefix + text)

    def query(self, text: str) -> NDArray[np.float32]:
        """The vector [W] of a text that asks. Raises BadItem: too long, empty."""
        return self._vector(self.text.query_prefix + text)

    def _vector(self, text: str) -> NDArray[np.float32]:
        return self.run(decode(self.text, text, self.tokenizer))
