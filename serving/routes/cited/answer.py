"""OpenAI's chat completion with two fields more: `sources`, the passages that were found, and each message's
`citations`. In a stream `sources` come with the first chunk, citations with the statement that has them.
"""

from collections.abc import Sequence
from typing import Any

from data.index.passages import Passages
from serving.engines.decode.sequence import TokenEvent
from serving.engines.decode.text import Vocabulary
from serving.engines.retrieve.engine import Found
from serving.routes.chat_schema import ChatAnswer
from serving.routes.cited.citations import Citations
from serving.routes.search_schema import shown


class CitedAnswer(ChatAnswer):
    """Builds the answer, whole or in chunks."""

    steady = False

    def __init__(
        self,
        identity: str,
        model: str,
        version: str,
        vocabulary: Vocabulary,
        found: Sequence[Found],
        documents: Passages,
    ) -> None:
        super().__init__(identity, model, version, vocabulary, logprobs=False)
        self._passages, self._documents = [each.passage for each in found], documents
        self._sources = [{"number": number, **shown(each)} for number, each in enumerate(found, 1)]
        self._choices: dict[int, Citations] = {}

    def opening(self, choices: int) -> list[dict[str, Any]]:
        """See ChatAnswer."""
        first, *rest = super().opening(choices)
        return [first | {"sources": self._sources}, *rest]

    def chunks(
        self, choice: int, text: str, events: list[TokenEvent], reason: str | None = None
    ) -> list[dict[str, Any]]:
        """See ChatAnswer: only whole statements are sent, and the end."""
        said = self._of(choice)
        done, citations = said.push(text) if reason is None else said.finish(text)
        if not done and reason is None:
            return []
        entry = super().chunk(choice, done, [], reason)
        if citations:
            entry["choices"][0]["delta"]["citations"] = citations
        return [entry]

    def choice(self, choice: int, text: str, events: list[TokenEvent], reason: str | None) -> dict[str, Any]:
        """See ChatAnswer."""
        done, citations = self._of(choice).finish(text)
        entry = super().choice(choice, done, [], reason)
        entry["message"]["citations"] = citations
        return entry

    def whole(self, choices: list[dict[str, Any]], usage: dict[str, int]) -> dict[str, Any]:
        """See ChatAnswer."""
        return super().whole(choices, usage) | {"sources": self._sources}

    def _of(self, choice: int) -> Citations:
        return self._choices.setdefault(choice, Citations(self._passages, self._documents))
