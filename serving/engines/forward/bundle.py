"""A bundle of a model that answers in one call: what the `forward` engine needs beside its graph."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.signature import FILE, Signature
from serving.bundle import Bundle, demand

GOLDEN = "golden/golden.json"
"""As data.golden.FILE, which brings NumPy: the process that starts the others does without."""
NEEDS = {"text": "tokenizer.json", "image": "pre.onnx"}
"""Kind of input → the file that makes arrays of its raw form."""


@dataclass(frozen=True)
class ForwardBundle(Bundle):
    """A verified bundle with a signature, golden items, and what its kinds of inputs need."""

    @property
    def typed(self) -> Signature:
        """Its signature, which is there."""
        assert self.signature
        return self.signature

    @classmethod
    def facts(
        cls, path: Path, listed: frozenset[str], manifest: Mapping[str, Any], serving: Mapping[str, Any]
    ) -> dict[str, Any]:
        """See Bundle."""
        demand(path, listed, FILE, GOLDEN)
        kinds = {each.kind for each in Signature.load(path / FILE).inputs}
        demand(path, listed, *(NEEDS[kind] for kind in sorted(kinds & set(NEEDS))))
        return {}


def ranks(signature: Signature | None) -> bool:
    """Whether a model with this signature says how well a document answers a query."""
    return (
        signature is not None
        and (signature.engine, signature.task) == ("forward", "text-ranking")
        and [each.kind for each in (*signature.inputs, *signature.outputs)] == ["text", "text", "labels"]
    )
