"""A model's tokens and the bytes that each stands for; where a text has stop strings, which may span tokens.

It holds no model and knows no HTTP.
"""

import re
import unicodedata
from pathlib import Path

from base.errors import MetrolineError
from data.text.spelling import Spelling
from data.text.tokenizer import UNKNOWN as NAME
from data.text.tokenizer import Tokenizer

# Control characters other than white space: no text has them, and terminals and logs act on them.
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
SURROGATE = re.compile(r"[\ud800-\udfff]")

UNKNOWN = "\N{REPLACEMENT CHARACTER}".encode()
"""What a token writes that stands for characters without one."""

MOST_MARKS = 30
"""Combining marks in a row: as many as text in Unicode's stream-safe format may have (UAX #15, section 13)."""


class Vocabulary:
    """The bundle's tokenizer, with the bytes that each token stands for. Safe to share between threads."""

    def __init__(self, path: Path, size: int) -> None:
        """`size`: the model's vocabulary. Raises MetrolineError when the tokenizer does not fit it."""
        tokenizer = Tokenizer.load(path)
        if tokenizer.vocab_size > size:
            raise MetrolineError(f"{path}: {tokenizer.vocab_size} tokens do not fit the model's vocabulary of {size}")
        self._tokenizer, self.unknown = tokenizer, tokenizer.inner.token_to_id(NAME)
        self.first = tokenizer.first
        """Tokens before every text, where the tokenizer has some of its own."""
        inner = tokenizer.inner
        self.spelling = Spelling(inner, path)
        self.special: dict[str, int] = tokenizer.special
        """Text → id of the tokens that no text may spell; chat templates do."""
        self.bytes: list[bytes] = [b""] * size
        """What each token writes in the middle of a text."""
        silent = set(range(size))
        for text, index in inner.get_vocab().items():
            added = text in self.special
            if not added or index == self.unknown:
                self.bytes[index] = UNKNOWN if added else self.spelling(text)
                silent.discard(index)
        self.silent = frozenset(silent)
        """Tokens that are no text: special ones, and those that the model has and the tokenizer does not know."""

        self._longest = max(map(len, self.bytes))

    def spelled(self, token: int, *, first: bool = False, last: bool = False) -> bytes:
        """What a token that is not silent writes as the first, the last or another one of a text."""
        if self.bytes[token] is UNKNOWN:
            return UNKNOWN
        return self.spelling(str(self._tokenizer.inner.id_to_token(token)), first=first, last=last)

    def encode(self, text: str) -> list[int]:
        """Token ids of the text as it is, without `first`. A character tokenizer may give `<unk>`."""
        return self._tokenizer.encode(text)

    def least_tokens(self, text: str) -> int:
        """A lower bound of a text's tokens that is quick to have."""
        return -(-len(text.encode()) // self._longest)

    def unknown_characters(self, text: str, tokens: list[int]) -> str:
        """The characters of `text` that have no token, sorted; empty for a byte-level tokenizer."""
        if self.unknown is None or self.unknown not in tokens:
            return ""
        return "".join(sorted(c for c in set(text) if self._tokenizer.inner.token_to_id(c) is None))


def show(raw: bytes) -> str:
    """A token's bytes as text, as OpenAI writes it in `logprobs`: part of a character is `bytes:\\xe2\\x80`."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


def too_many_marks(text: str) -> int | None:
    """Where a row of combining marks grows over MOST_MARKS. Normalizing takes time by the square of such a row."""
    if not any(map(unicodedata.combining, text[:: MOST_MARKS + 1])):  # a longer row has one at a multiple of that
        return None
    row = 0
    for position, mark in enumerate(map(unicodedata.combining, text)):
        row = row + 1 if mark else 0
        if row > MOST_MARKS:
            return position
    return None


class StopStrings:
    """Cuts a text before the first of some strings, wherever token borders are.

    Text that may be the beginning of a stop string is held back until that is decided.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """Add text; returns (what may be shown now, whether a stop string came)."""
        if not self._stops:
            return text, False
        held = self._held + text
        found = [at for stop in self._stops if (at := held.find(stop)) >= 0]
        if found:
            self._held = ""
            return held[: min(found)], True
        keep = max(_overlap(held, stop) for stop in self._stops)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep], False

    def flush(self) -> str:
        """The text still held back when generation ends for another reason."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins, but is not all of, `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
