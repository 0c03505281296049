"""Small tokenizers, one for each kind of decoder that is read, and decoders that are refused."""

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models

from data.text.spelling import ALPHABET

WORDS = ["größe", "°C", "日本"]
"""Added to each: letters that stand for bytes in a byte-level vocabulary, and some that do not."""

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
"""Tokens of byte fallback."""

_BYTE_LEVEL = [*ALPHABET, "the", "Ġthe", "ĠĠ", "æĹ", "æĹ¥", "日"]
_PIECES = ["▁", "▁▁", "▁the", "the", "▁a", "a", "s", "é", "日", "😀", ".", "▁.", "x▁y", " ", " b", "aa"]
_WORD_PIECES = ["the", "##s", "a", "##", "do", "##n't", ".", ",", "'", "n't", "日", "##é", "##.", " ", "x .", "do not"]
_ENDS = ["the</w>", "th", "e</w>", "a", "a</w>b", "a</w>b</w>", "</w>", "é</w>", "日"]

_PIECE, _STRIP, _FUSE = decoders.Replace("▁", " "), decoders.Strip(" ", 1, 0), decoders.Fuse()


def _sequence(*steps: decoders.Decoder) -> decoders.Decoder:
    return decoders.Sequence(list(steps))


KINDS: dict[str, tuple[list[str], decoders.Decoder | None]] = {
    "ByteLevel": (_BYTE_LEVEL, decoders.ByteLevel()),
    "ByteLevel in a sequence": (_BYTE_LEVEL, _sequence(decoders.ByteLevel())),
    "ByteLevel behind a Replace": ([*_BYTE_LEVEL, "▁the"], _sequence(_PIECE, decoders.ByteLevel(), _FUSE)),
    "ByteLevel before a Strip": (_BYTE_LEVEL, _sequence(decoders.ByteLevel(), _STRIP)),
    "Metaspace": (_PIECES, decoders.Metaspace()),
    "Metaspace, only the first": (_PIECES, decoders.Metaspace(prepend_scheme="first")),
    "Metaspace, nothing prepended": (_PIECES, decoders.Metaspace(prepend_scheme="never")),
    "Llama 2": ([*_PIECES, *BYTES], _sequence(_PIECE, decoders.ByteFallback(), _FUSE, _STRIP)),
    "Gemma": ([*_PIECES, *BYTES], _sequence(_PIECE, decoders.ByteFallback(), _FUSE)),
    "byte fallback": ([*_PIECES, *BYTES], decoders.ByteFallback()),
    "Metaspace and bytes": ([*_PIECES, *BYTES], _sequence(decoders.Metaspace(), decoders.ByteFallback())),
    "sequence in a sequence": (_PIECES, _sequence(_sequence(_PIECE), _sequence(_FUSE, decoders.Strip(" ", 3, 0)))),
    "Replace by expression": (_PIECES, _sequence(decoders.Replace(Regex("a+|▁"), "-"), _FUSE)),
    "Strip of each token": (_PIECES, _sequence(decoders.Strip("▁", 1, 0), _PIECE)),
    "WordPiece": (_WORD_PIECES, decoders.WordPiece()),
    "WordPiece, not cleaned up": (_WORD_PIECES, decoders.WordPiece("##", cleanup=False)),
    "BPEDecoder": (_ENDS, decoders.BPEDecoder()),
    "BPEDecoder in a sequence": (_ENDS, _sequence(decoders.BPEDecoder(), decoders.Replace("th", "TH"))),
    "Fuse": (_PIECES, _FUSE),
    "empty sequence": (_PIECES, decoders.Sequence([])),
    "none": (_PIECES, None),
}

REFUSED: dict[str, tuple[decoders.Decoder, str]] = {
    "CTC": (decoders.CTC(), "has CTC, which"),
    "Replace of the whole": (_sequence(_FUSE, _PIECE), "has Replace after Fuse, which"),
    "Metaspace of the whole": (
        _sequence(decoders.ByteFallback(), decoders.Metaspace()),
        "Metaspace after ByteFallback",
    ),
    "Strip between runs of bytes": (_sequence(decoders.ByteFallback(), _STRIP), "has Strip after ByteFallback"),
    "two rules for bytes": (_sequence(decoders.ByteFallback(), decoders.ByteLevel()), "ByteLevel after ByteFallback"),
    "Strip of the end": (_sequence(_FUSE, decoders.Strip(" ", 0, 1)), "has a Strip of the end of texts"),
    "two Strips": (_sequence(_FUSE, _STRIP, _STRIP), "has Strip after Fuse"),
    "Strip of more than a byte": (_sequence(_FUSE, decoders.Strip("▁", 1, 0)), "has Strip after Fuse"),
    "Strip with BPEDecoder": (_sequence(decoders.BPEDecoder(), _FUSE, _STRIP), "Strip of the whole text after BPE"),
}


def tokenizer(tokens: list[str], decoder: decoders.Decoder | None) -> Tokenizer:
    """`<|endoftext|>` is 0 and `<s>` 1, both special; then come the tokens, and last WORDS."""
    names = ["<|endoftext|>", "<s>", *tokens]
    made = Tokenizer(models.WordLevel({token: index for index, token in enumerate(names)}, unk_token="<s>"))
    made.add_special_tokens(["<|endoftext|>", "<s>"])
    made.add_tokens([AddedToken(word, normalized=False) for word in WORDS])
    if decoder is not None:
        made.decoder = decoder
    return made
