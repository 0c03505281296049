"""Tokenizers: single characters, byte-level BPE, WordPiece, or a pretrained model's, all as one `tokenizer.json`.

Of the first two `<|endoftext|>` is id 0 and ends every document; of WordPiece (`data.text.wordpiece`) [PAD] is, and
[SEP] ends documents; a pretrained one has its own number for it, or another token. Text that spells out a special token
is ordinary text: no document or prompt can end a document. BPE codes any Unicode text; the character tokenizer knows
the characters of the train split, and gives `<unk>` (id 1) for others, as WordPiece gives [UNK]; `prepare` counts them
in stats.json. Tokens stand for the whole text, always the same: what a tokenizer.json says of truncation, padding and
BPE dropout is not followed.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import tokenizers
from pydantic import BaseModel, ConfigDict, Field
from tokenizers import decoders, models, pre_tokenizers, trainers

from base.errors import MetrolineError
from base.files import read_object, write_json, write_text
from data.text import wordpiece

END_OF_TEXT = "<|endoftext|>"
UNKNOWN = "<unk>"
EOS = 0
MOST_LOST = 0.01  # of a text, that tokens may fail to give back before a loss on them says nothing
LONGEST_WORD = (
    1024  # bytes; training looks at longer words in pieces, as its time grows with the square of a word's length
)


class TokenizerConfig(BaseModel):
    """Which tokenizer is made from the train split, or that it comes with pretrained weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["bpe", "char", "wordpiece", "pretrained"] = Field(
        default="bpe",
        description="byte-level BPE, one token a character, BERT's WordPiece (lower case), or what the pretrained "
        "weights were made with",
    )
    vocabulary: int = Field(
        default=4096, ge=258, le=1 << 20, description="most tokens of BPE or WordPiece; a small corpus may give fewer"
    )
    min_frequency: int = Field(default=2, ge=1, description="how often a pair must occur to become a token")


class Tokenizer:
    """Text to tokens and back; a thin wrapper that fixes how special tokens are treated."""

    def __init__(self, inner: tokenizers.Tokenizer, eos: int = EOS) -> None:
        self.inner = inner
        inner.encode_special_tokens = True  # "<|endoftext|>" in a text is 13 characters, not the end
        self.vocab_size: int = max(inner.get_vocab().values(), default=-1) + 1
        self.eos: int = eos
        unknown = getattr(inner.model, "unk_token", None)
        own = isinstance(inner.model, models.WordPiece)  # a BPE may name any token here, such as that of the end
        self.unknown: int | None = inner.token_to_id((own and unknown) or UNKNOWN)
        self.first, self.last = _frame(inner)
        """What its post-processor puts before a text, such as Llama's `<|begin_of_text|>`, and behind it, such as
        BERT's `[SEP]`; `encode` leaves both out."""
        added = sorted(inner.get_added_tokens_decoder().items())
        self.special: dict[str, int] = {token.content: index for index, token in added if token.special}
        """Text → id of the tokens that no text may spell; chat templates do."""
        self.unwritten = {name: number for name, number in self.special.items() if name not in (unknown, UNKNOWN)}
        """Those that `encode` never gives: all but the one for what is unknown."""

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """Read a tokenizer.json. A document's end is `<|endoftext|>`, or the eos_token, else the sep_token, of the
        tokenizer_config.json beside it. Raises MetrolineError when the file is missing, damaged, or has neither.
        """
        inner = read(path, hint="run `metroline stage prepare` again")
        eos = inner.token_to_id(END_OF_TEXT)
        settings = path.with_name("tokenizer_config.json")
        if eos is None and settings.is_file():
            names = read_object(settings)
            eos = inner.token_to_id(str(names.get("eos_token", names.get("sep_token"))))
        if eos is None:
            raise MetrolineError(f"{path} has no token that ends a document", hint=f"it needs {END_OF_TEXT}")
        return cls(inner, eos)

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, without `first` and end of text. The character tokenizer gives `<unk>` for the unseen."""
        return self.inner.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each text; leaves out the offsets that nobody reads, which doubles the speed."""
        return [encoding.ids for encoding in self.inner.encode_batch_fast(texts, add_special_tokens=False)]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens; special tokens give nothing, bytes of a cut-off character U+FFFD."""
        return self.inner.decode(tokens, skip_special_tokens=True)

    def lost(self, text: str, tokens: Sequence[int]) -> int:
        """How many of the text's characters its tokens do not give back."""
        decoded = self.decode(tokens)
        return 0 if decoded == text else (Counter(text) - Counter(decoded)).total()

    def spell(self, token: int) -> str:
        """How one token is shown to people: its text, or its stored form where it is part of a character."""
        text = self.inner.decode([token], skip_special_tokens=False)
        return self.inner.id_to_token(token) or "?" if "\ufffd" in text else text


def read(path: Path, hint: str | None = None) -> tokenizers.Tokenizer:
    """The library's tokenizer in a tokenizer.json, without truncation, padding and BPE dropout.

    Many published files keep these from when they were saved; tokens would then stand for another text than was given.
    Raises MetrolineError when the file is missing or damaged.
    """
    try:
        inner = tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MetrolineError(f"{path} is missing", hint=hint) from None
    except Exception as error:  # the library raises bare Exception
        raise MetrolineError(f"{path}: not a tokenizer: {' '.join(str(error).split())}", hint=hint) from None
    inner.no_truncation()
    inner.no_padding()
    if isinstance(inner.model, models.BPE):
        inner.model.dropout = None
    return inner


def _frame(inner: tokenizers.Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The tokens that the post-processor puts before a text, and behind it."""
    if inner.post_processor is None:
        return (), ()
    framed = inner.encode("a")
    mask = framed.special_tokens_mask
    if 0 not in mask:
        return (), ()
    return tuple(framed.ids[: mask.index(0)]), tuple(framed.ids[len(mask) - mask[::-1].index(0) :])


def train(texts: Iterable[str], config: TokenizerConfig) -> Tokenizer:
    """Make the tokenizer from the train split's texts, which are read once, as a stream.

    Equal texts in equal order give an equal tokenizer.json, whatever the number of threads.
    """
    if config.kind == "wordpiece":
        made = wordpiece.train(texts, config.vocabulary, config.min_frequency)
        return Tokenizer(made, made.get_vocab()[wordpiece.NAMES["sep_token"]])
    return _train_bpe(texts, config) if config.kind == "bpe" else _train_characters(texts)


def _train_bpe(texts: Iterable[str], config: TokenizerConfig) -> Tokenizer:
    """GPT-2's byte-level BPE: all 256 bytes are tokens, so any text has a code, and decoding gives it back."""
    inner = tokenizers.Tokenizer(models.BPE())
    words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    inner.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.FixedLength(LONGEST_WORD)])
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocabulary,
        min_frequency=config.min_frequency,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer)
    inner.pre_tokenizer = words
    return Tokenizer(inner)


def _train_characters(texts: Iterable[str]) -> Tokenizer:
    """Every character (Unicode code point) of the texts, in code point order."""
    seen: set[str] = set()
    for text in texts:
        seen.update(text)
    vocabulary = {token: number for number, token in enumerate([END_OF_TEXT, UNKNOWN, *sorted(seen)])}
    inner = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    inner.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), behavior="isolated")
    inner.decoder = decoders.Fuse()
    inner.add_special_tokens([END_OF_TEXT, UNKNOWN])
    return Tokenizer(inner)


def save(tokenizer: Tokenizer, path: Path) -> None:
    """Write tokenizer.json, and of WordPiece the names of its special tokens beside it, as `transformers` does."""
    write_text(path, tokenizer.inner.to_str(pretty=True) + "\n")
    if isinstance(tokenizer.inner.model, models.WordPiece):
        names = {"tokenizer_class": "PreTrainedTokenizerFast", **wordpiece.NAMES}
        write_json(path.with_name("tokenizer_config.json"), names)
