"""A bundle of a decoder: what the `decode` engine needs of manifest.json and serving.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from data.text.text_form import TextForm
from serving.bundle import Bundle, demand


@dataclass(frozen=True)
class DecoderBundle(Bundle):
    """A verified bundle of a decoder. Lengths are in tokens."""

    context: int
    max_tokens: int
    eos: tuple[int, ...]
    """The tokens that end a text."""
    layers: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    form: TextForm
    """How the text is written that it was trained on, and so its prompts."""

    @classmethod
    def facts(
        cls, path: Path, listed: frozenset[str], manifest: Mapping[str, Any], serving: Mapping[str, Any]
    ) -> dict[str, Any]:
        """See Bundle."""
        demand(path, listed, "tokenizer.json")
        model = manifest["model"]
        return {
            "context": int(serving.get("context") or model["context"]),
            "max_tokens": int(serving["max_tokens"]),
            "eos": _tokens(serving["eos"]),
            "layers": int(model["layers"]),
            "kv_heads": int(model["kv_heads"]),
            "head_dim": int(model["head_dim"]),
            "vocab_size": int(model["vocab_size"]),
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
