"""The bytes that a token writes, by the rule of its tokenizer's decoder: text can be written while it is drawn.

    spelling = Spelling(tokenizers.Tokenizer.from_file("tokenizer.json"), Path("tokenizer.json"))
    spelling("▁the")                      # b" the"
    spelling("▁the", first=True)          # b"the"

The tokenizers library decodes all of a text's tokens at once. Where its decoder treats them one by one, but for the
first and the last, the same text comes out of single tokens; any other decoder is refused. In two things this is no
copy of the library's: an added word is never read as bytes ("größe" has letters that stand for some), and a run of byte
tokens that is not UTF-8 keeps the characters that are in it. It knows neither ids nor special tokens.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import models

from base.errors import MetrolineError

FIRST = {"Metaspace", "WordPiece"}
"""Steps that treat the first token of a text differently."""
LAST = {"BPEDecoder"}
"""Steps that treat the last token of a text differently."""
ALONE = {"Replace", "Strip"} | FIRST | LAST
"""Steps that take tokens one by one."""
BYTES = {"ByteLevel", "ByteFallback"}
"""Steps that put bytes of several tokens together; only what knows no token borders may follow."""

_BYTE_TOKEN = re.compile("<0x([0-9A-Fa-f]{2})>")


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-ins for the 256 bytes, reversed (openai/gpt-2, encoder.py, bytes_to_unicode)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    alphabet = {chr(byte): byte for byte in plain}
    others = (byte for byte in range(256) if byte not in plain)
    return alphabet | {chr(256 + i): byte for i, byte in enumerate(others)}


ALPHABET = _byte_alphabet()


class Spelling:
    """How one tokenizer's tokens are written."""

    def __init__(self, inner: tokenizers.Tokenizer, path: Path) -> None:
        """`path`: its file. Raises MetrolineError for a decoder that needs more of a text than one token."""
        steps = list(_steps(json.loads(inner.decoder.__getstate__()))) if inner.decoder else []
        self._spaced = inner.decoder is None
        self._alone: list[tuple[str, Any]] = []
        self._bytes: str | None = None
        self.strip: tuple[bytes, int] = (b"", 0)
        """A sign of one byte, and how many of it are taken off where a text begins."""
        before: str | None = None
        for step in steps:
            kind = step["type"]
            if kind == "Strip" and step["stop"]:
                raise _refused(path, "a Strip of the end of texts")
            if kind in ALONE and before is None:
                self._alone.append((kind, _load(step)))
            elif kind == "Strip" and before != "ByteFallback" and step["content"].isascii() and not self.strip[1]:
                self.strip = (step["content"].encode(), step["start"])
            elif kind in BYTES and before is None:
                self._bytes = before = kind
            elif kind == "Fuse":
                before = kind
            else:
                raise _refused(path, f"{kind} after {before}" if before else kind)
        kinds = {kind for kind, _ in self._alone}
        if self.strip[1] and not LAST.isdisjoint(kinds):
            raise _refused(path, "a Strip of the whole text after BPEDecoder")
        self.first = self._spaced or not FIRST.isdisjoint(kinds)
        """The first token of a text is written differently."""
        self.last = not LAST.isdisjoint(kinds)
        """The last token of a text is written differently."""
        own, added = inner.get_vocab(with_added_tokens=False), inner.get_added_tokens_decoder().values()
        self._words = {token.content for token in added if not (token.content in ALPHABET and token.content in own)}

    def __call__(self, token: str, *, first: bool = False, last: bool = False) -> bytes:
        """The bytes of a token, from its stored form; perhaps none, or a part of a character."""
        text = token
        for kind, step in self._alone:
            before, after = kind in FIRST and not first, kind in LAST and not last
            text = step.decode([""] * before + [text] + [""] * after)
        if self._bytes == "ByteLevel" and token not in self._words:
            return _stood_for(text)
        if self._bytes == "ByteFallback" and (found := _BYTE_TOKEN.fullmatch(text)):
            return bytes([int(found[1], 16)])
        return (" " + text if self._spaced and not first else text).encode()


def _refused(path: Path, what: str) -> MetrolineError:
    return MetrolineError(
        f"{path}: its decoder has {what}, which cannot be written token by token",
        hint="docs/pretrained.md lists the decoders that are read",
    )


def _steps(decoder: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The steps of a decoder's description, those of sequences one after the other."""
    if decoder["type"] != "Sequence":
        yield decoder
        return
    for inner in decoder["decoders"]:
        yield from _steps(inner)


def _load(step: dict[str, Any]) -> Any:
    """One step as the library's own decoder."""
    empty = json.loads(tokenizers.Tokenizer(models.BPE()).to_str())
    return tokenizers.Tokenizer.from_str(json.dumps(empty | {"decoder": step})).decoder


def _stood_for(token: str) -> bytes:
    try:
        return bytes(map(ALPHABET.__getitem__, token))
    except KeyError:  # a token that is plain text
        return token.encode()
