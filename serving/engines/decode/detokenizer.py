"""Tokens into text while they are drawn: no character is ever cut, and the pieces add up to what the whole would give.

text = Detokenizer(vocabulary, prompt)
raw, shown = text.push(token)
"""

import codecs
from collections.abc import Sequence

from serving.engines.decode.text import Vocabulary


class Detokenizer:
    """One text. Bytes that can be no part of UTF-8 become U+FFFD as soon as that is certain.

    The prompt's text and this one are together what the tokenizers library makes of all tokens
    (`data.text.spelling`).
    """

    def __init__(self, vocabulary: Vocabulary, prompt: Sequence[int] = (), *, exact: bool = False) -> None:
        """`prompt`: the tokens before the text. `exact`: every token is written as in the middle of a text, as a
        grammar reads it.
        """
        self._vocabulary, self._bytes, rule = vocabulary, vocabulary.bytes, vocabulary.spelling
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._first, (self._sign, self._strip) = rule.first, rule.strip
        self._held = (b"", b"")
        """The end of the last token's bytes: if more tokens follow, and if none does."""
        self._middle = exact or not (self._first or self._strip or rule.last)
        """From here on, a token's bytes are those in the vocabulary."""
        if not self._middle:
            self._follow(prompt)

    def push(self, token: int) -> tuple[bytes, str]:
        """Add a token. Returns the bytes that it adds, and the text that is now certain, perhaps none."""
        raw = self._bytes[token] if self._middle else self._write(token)
        return raw, self._utf8.decode(raw)

    def flush(self) -> str:
        """The rest at the end of a text; half a character becomes U+FFFD."""
        return self._utf8.decode(self._held[1], final=True)

    def _follow(self, prompt: Sequence[int]) -> None:
        """Begin behind the prompt: of its tokens only the first and the last that are text matter."""
        silent = self._vocabulary.silent
        texts = (token for token in prompt if token not in silent)
        while (self._first or self._strip) and (token := next(texts, None)) is not None:
            self._write(token)
        if self._vocabulary.spelling.last:
            for token in [*texts][-1:]:
                self._write(token)
            self._held = (self._held[0], b"")

    def _write(self, token: int) -> bytes:
        """What was held and a token's bytes, but for its end where that depends on whether more follows."""
        if token in self._vocabulary.silent:
            return b""
        last, spelled = self._vocabulary.spelling.last, self._vocabulary.spelled
        raw = spelled(token, first=self._first)
        cut = 0
        while cut < self._strip and raw.startswith(self._sign, cut):
            cut += 1
        final = spelled(token, first=self._first, last=True) if last else raw
        raw, final = raw[cut:], final[cut:]
        self._first, self._strip = False, 0 if raw else self._strip - cut
        self._middle = not (last or self._strip)
        same = len(final) if raw.startswith(final) else 0
        written, self._held = self._held[0] + raw[:same], (raw[same:], final[same:])
        return written
