"""A bundle of a language model: what the `decode` engine needs of manifest.json and serving.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from data.text.text_form import TextForm
from serving.bundle import Bundle, demand


@dataclass(frozen=True)
class DecoderBundle(Bundle):
    """A verified bundle of a language model. Lengths are in tokens."""

    context: int
    max_tokens: int
    eos: tuple[int, ...]
    """The tokens that end a text."""
    cache: str
    """What a sequence is remembered by: `kv`, keys and values of all its tokens, or `state`, of a fixed size."""
    layers: int
    kv_heads: int
    head_dim: int
    """Of the key/value cache, else 0."""
    vocab_size: int
    adapters: int
    """How many adapters its graphs have room for; 0: none, and they take no such inputs."""
    form: TextForm
    """How the text is written that it was trained on, and so its prompts."""

    @classmethod
    def facts(
        cls, path: Path, listed: frozenset[str], manifest: Mapping[str, Any], serving: Mapping[str, Any]
    ) -> dict[str, Any]:
        """See Bundle."""
        demand(path, listed, "tokenizer.json")
        model = manifest["model"]
        cache = str(model.get("cache", "kv"))
        if cache not in ("kv", "state"):
            raise ValueError(f"model.cache: {cache!r} is neither kv nor state")
        shape = ("layers", "kv_heads", "head_dim")
        return {
            "context": int(serving.get("context") or model["context"]),
            "max_tokens": int(serving["max_tokens"]),
            "eos": _tokens(serving["eos"]),
            "cache": cache,
            **{name: int(model[name]) if cache == "kv" else 0 for name in shape},
            "vocab_size": int(model["vocab_size"]),
            "adapters": int(model.get("adapters", 0)),
            "form": _form(serving.get("clean", {})),
        }


def _tokens(value: object) -> tuple[int, ...]:
    """One token id, or a list of them. Raises ValueError."""
    tokens = value if isinstance(value, list) else [value]
    if not tokens or not all(type(token) is int for token in tokens):
        raise ValueError("eos: a token id, or a list of them")
    return tuple(tokens)


def _form(value: object) -> TextForm:
    """`clean` of serving.json; the defaults where an older bundle has none. Raises ValueError."""
    try:
        return TextForm.model_validate(value)
    except ValidationError as error:
        raise ValueError(
            "clean: " + "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        ) from None
