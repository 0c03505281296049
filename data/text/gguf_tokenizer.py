"""The tokenizer inside a GGUF file, as a tokenizers-library BPE equal to the one the model was trained with.

    pretrained = read(Path("model.gguf"))        # data.text.pretrained.Pretrained

Byte-level BPE only (`tokenizer.ggml.model` = gpt2). How text is cut before merging is not in the file: it only names a
rule (`tokenizer.ggml.pre`), and `PRE_TOKENIZERS` has those known here. An unknown name is an error, because a wrong
rule gives a model that is quietly worse.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, processors

from base.errors import MetrolineError
from data.text.gguf_file import GgufFile
from data.text.pretrained import Pretrained

# Token types of ggml.
UNKNOWN, CONTROL, USER_DEFINED = 2, 3, 4

# Llama 3's rule: contractions, letters with one leading sign, up to three digits, signs with their line ends, spaces.
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _gpt2() -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def _smollm() -> Any:
    """GPT-2's rule after every digit is cut off alone."""
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _gpt2()])


def _llama3() -> Any:
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(_LLAMA3), behavior="isolated"), bytes_only])


PRE_TOKENIZERS: dict[str, Callable[[], Any]] = {"gpt-2": _gpt2, "smollm": _smollm, "llama-bpe": _llama3}
IGNORE_MERGES = {"llama-bpe"}
"""Rules under which a piece that is a token as a whole is not built by merges."""
BEGINS = {"llama-bpe"}
"""Rules under which the bos token goes before every text where the file does not say, as in llama.cpp."""


def read(path: Path) -> Pretrained:
    """The text side of a GGUF file. Raises MetrolineError: damaged, no tokenizer, another kind, unknown rule."""
    with GgufFile(path) as file:
        metadata = file.metadata
    try:
        return _read(metadata)
    except KeyError as error:
        raise MetrolineError(f"{path} has no {error.args[0]}", hint="it was made without its tokenizer") from None
    except ValueError as error:
        raise MetrolineError(f"{path}: {error}") from None


def _read(metadata: dict[str, Any]) -> Pretrained:
    kind = metadata["tokenizer.ggml.model"]
    if kind != "gpt2":
        raise ValueError(f"its tokenizer is of the kind {kind!r}, only byte-level BPE (gpt2) is supported")
    rule = metadata["tokenizer.ggml.pre"]
    if rule not in PRE_TOKENIZERS:
        raise ValueError(f"its pre-tokenizer {rule!r} is not supported, only {', '.join(PRE_TOKENIZERS)}")
    tokens, merges = (_texts(metadata, f"tokenizer.ggml.{name}") for name in ("tokens", "merges"))
    kinds = metadata.get("tokenizer.ggml.token_type", [1] * len(tokens))
    if not isinstance(kinds, list) or len(kinds) != len(tokens):
        raise ValueError(f"tokenizer.ggml.token_type does not say the type of each of its {len(tokens):,} tokens")
    vocabulary = {token: number for number, token in enumerate(tokens)}
    if len(vocabulary) != len(tokens):
        raise ValueError("tokenizer.ggml.tokens has a token twice")
    inner = _build(rule, vocabulary, merges)
    for number, token in enumerate(tokens):
        if kinds[number] in (UNKNOWN, CONTROL):
            inner.add_special_tokens([AddedToken(token, special=True, normalized=False)])
        elif kinds[number] == USER_DEFINED:
            inner.add_tokens([AddedToken(token, special=False, normalized=False)])
    names = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}
    numbers = {ours: _id(metadata, name, tokens) for name, ours in names.items()}
    special = {name: tokens[index] for name, index in numbers.items() if index is not None}
    if metadata.get("tokenizer.ggml.add_bos_token", rule in BEGINS) and "bos_token" in special:
        first = special["bos_token"]
        inner.post_processor = processors.TemplateProcessing(
            single=f"{first} $A", pair=f"{first} $A {first}:1 $B:1", special_tokens=[(first, vocabulary[first])]
        )
    ends = (_id(metadata, name, tokens) for name in ("eos", "eot", "eom"))
    template = metadata.get("tokenizer.chat_template")
    return Pretrained(
        inner,
        int(metadata[f"{metadata['general.architecture']}.context_length"]),
        special,
        tuple(dict.fromkeys(number for number in ends if number is not None)),
        template if isinstance(template, str) else None,
    )


def _build(rule: str, vocabulary: dict[str, int], merges: list[str]) -> tokenizers.Tokenizer:
    pairs = []
    for merge in merges:
        left, space, right = merge.partition(" ")  # a token holds no space: the byte is written Ġ
        if not space or left not in vocabulary or right not in vocabulary or left + right not in vocabulary:
            raise ValueError(f"the merge {merge[:80]!r} is not of its tokens")
        pairs.append((left, right))
    inner = tokenizers.Tokenizer(models.BPE(vocabulary, pairs, ignore_merges=rule in IGNORE_MERGES))
    inner.pre_tokenizer = PRE_TOKENIZERS[rule]()
    inner.decoder = decoders.ByteLevel()
    return inner


def _texts(metadata: dict[str, Any], key: str) -> list[str]:
    value = metadata[key]
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"{key} is not a list of texts")
    return value


def _id(metadata: dict[str, Any], name: str, tokens: list[str]) -> int | None:
    """A special token's number, None where the file names none."""
    number = metadata.get(f"tokenizer.ggml.{name}_token_id")
    if number is not None and (not isinstance(number, int) or not 0 <= number < len(tokens)):
        raise ValueError(f"tokenizer.ggml.{name}_token_id {number!r} is none of its {len(tokens):,} tokens")
    return number
