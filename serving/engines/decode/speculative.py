"""Guessing tokens from the text so far, to be checked by the model several at once (prompt lookup decoding).

When the last tokens have come before, what followed them then is guessed: good for summaries, code, extraction, and
anything else that repeats its prompt. A guess changes nothing: the model's own token is drawn at every place, and the
guesses that differ from it are thrown away. Source: Saxena 2023, github.com/apoorvumang/prompt-lookup-decoding.
"""

from collections.abc import Sequence

GRAM = 3
"""Tokens that must agree before the following ones are guessed: two agree by chance too often."""


class Lookup:
    """Where each run of `GRAM` tokens of one text came last."""

    def __init__(self, prompt: Sequence[int]) -> None:
        self._text = list(prompt)
        self._prompt = len(self._text)
        self._last: dict[tuple[int, ...], int] = {}
        self._known = 0

    def guess(self, generated: Sequence[int], most: int) -> list[int]:
        """Up to `most` tokens that may follow the prompt and what was generated after it, which only ever grows."""
        self._text += generated[len(self._text) - self._prompt :]
        end = len(self._text)
        for start in range(self._known, end - GRAM):  # all runs but the last, which is the question
            self._last[tuple(self._text[start : start + GRAM])] = start + GRAM
        self._known = max(self._known, end - GRAM)
        at = self._last.get(tuple(self._text[-GRAM:]))
        return [] if at is None else self._text[at : at + most]
