"""An answer's text as it is written → statements whose citations are verified before they are passed on.

A statement is held back until its citation is complete, so that nothing uncited is sent. A citation of a quotation is
the range of these bytes in the document; one without is the whole passage. What does not verify is not sent, and the
grammar lets nothing of the kind be written: `dropped` counts it all the same.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from data.index.passages import Passage, Passages
from serving.routes.cited.grammar import NOTHING

STATEMENT = re.compile(r'\s*(?P<prose>[^\[\]"]*)(?:"(?P<quote>[^"]*)")?\s*\[(?P<number>\d{1,3})\]')

EMPTY = re.compile(r'\s*"\s*"\s*')


@dataclass
class Citations:
    """One choice's answer. `passages`: those that were found, number 1 first; `documents`: to read the bytes again."""

    passages: Sequence[Passage]
    documents: Passages
    dropped: int = 0
    _held: str = field(default="", init=False)
    _sent: bool = field(default=False, init=False)

    def push(self, text: str) -> tuple[str, list[dict[str, Any]]]:
        """More text of the answer. Returns the statements that are complete now, and their citations."""
        self._held += text
        statements: list[str] = []
        citations: list[dict[str, Any]] = []
        while found := STATEMENT.match(self._held):
            statement, self._held = found[0], self._held[found.end() :]
            if (citation := self._verified(int(found["number"]), found["quote"])) is None:
                self.dropped += 1
                continue
            statement = EMPTY.sub(" ", statement)  # the words of a passage may be none
            statements.append(statement if self._sent or statements else statement.lstrip())
            citations.append(citation)
        if statements:
            self._sent = True
        return "".join(statements), citations

    def finish(self, text: str) -> tuple[str, list[dict[str, Any]]]:
        """The last of the text. A statement that was cut off is not sent; that there is nothing to say is."""
        done, citations = self.push(text)
        if not self._sent and self._held.strip() == NOTHING:
            done = NOTHING
        self._held = ""
        return done, citations

    def _verified(self, number: int, quote: str | None) -> dict[str, Any] | None:
        """The citation, its text read from the document's bytes; None: no such passage, or other words than its."""
        if not 1 <= number <= len(self.passages):
            return None
        passage = self.passages[number - 1]
        start, end, wanted = passage.start, passage.end, passage.text
        if quote is not None and quote.strip():
            wanted = quote.strip()
            if (place := passage.text.find(wanted)) < 0:
                return None
            start += len(passage.text[:place].encode())
            end = start + len(wanted.encode())
        try:
            text = self.documents.text(passage.document, start, end)
        except (KeyError, UnicodeDecodeError):
            return None
        if text != wanted:
            return None
        return {"number": number, "document": passage.document, "start": start, "end": end, "text": text}
