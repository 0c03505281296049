"""A bundle on disk: find it, check every hash in its manifest, read what serving needs of it.

    METROLINE_BUNDLES=artifacts/speeches/bundle    folders, separated by colons, or a JSON list of them; or
    METROLINE_MODELS=speeches,smollm2              recipes, whose live releases are taken from the model store

A bundle with a missing, changed or unlisted file that serving would read is refused. It loads no model.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from base.errors import MetrolineError
from base.files import read_object
from base.forms import GRAPHS
from base.manifest import REBUILD, seal, verify
from data.text.text_form import TextForm

SEALS = "METROLINE_SEALS"
"""The environment variable by which a process tells those it starts which bundles it has hashed: a gigabyte takes a
second, and three processes look at it before the first request. A bundle that was written to since is hashed again."""


@dataclass(frozen=True)
class Bundle:
    """A verified bundle. Lengths are in tokens."""

    path: Path
    name: str
    version: str
    data_hash: str
    precision: str
    context: int
    max_tokens: int
    eos: tuple[int, ...]
    """The tokens that end a text."""
    layers: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    created: int
    """Unix time of the manifest file."""
    files: frozenset[str]
    """Names of the verified files."""
    form: TextForm
    """How the text is written that it was trained on, and so its prompts."""
    reference: Mapping[str, Any] | None
    """What `evaluate` measured on the test split, to judge drift by; None: the bundle has none."""

    @property
    def graph(self) -> Path:
        """The ONNX file that answers."""
        return self.path / GRAPHS[self.precision]

    @classmethod
    def load(cls, path: Path, precision: str | None = None) -> "Bundle":
        """Verify the bundle at `path` and read it. `precision` (auto, fp32, int8, int4) overrides the bundle's own;
        `precision.settle` makes one of the others out of auto.

        Raises MetrolineError: no bundle there, damaged, or without the graph for that precision.
        """
        manifest = verify(path, set(os.environ.get(SEALS, "").split()))
        listed = frozenset(manifest["files"])
        _demand(path, listed, "tokenizer.json", "serving.json")
        serving = read_object(path / "serving.json", hint=REBUILD)
        precision = precision or serving.get("precision", "fp32")
        if precision not in ("auto", *GRAPHS):
            raise MetrolineError(f"{path}: unknown precision {precision!r}", hint="auto, fp32, int8 or int4")
        _demand(path, listed, GRAPHS.get(precision, GRAPHS["fp32"]))
        try:
            model = manifest["model"]
            return cls(
                path=path,
                name=str(manifest["name"]),
                version=str(manifest["version"]),
                data_hash=str(manifest.get("data_hash") or "unknown"),
                precision=precision,
                context=int(serving.get("context") or model["context"]),
                max_tokens=int(serving["max_tokens"]),
                eos=_tokens(serving["eos"]),
                layers=int(model["layers"]),
                kv_heads=int(model["kv_heads"]),
                head_dim=int(model["head_dim"]),
                vocab_size=int(model["vocab_size"]),
                created=int((path / "manifest.json").stat().st_mtime),
                files=listed,
                form=_form(serving.get("clean", {})),
                reference=read_object(path / "reference.json", hint=REBUILD) if "reference.json" in listed else None,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise MetrolineError(f"{path}: manifest.json or serving.json lacks {error}", hint=REBUILD) from None


def seals(bundles: Iterable[Bundle]) -> str:
    """What SEALS is to be for processes that start once these bundles are verified."""
    return " ".join(seal(bundle.path, bundle.files) for bundle in bundles)


def locate(environment: Mapping[str, str] = os.environ) -> list[Path]:
    """The folders of METROLINE_BUNDLES, else the live releases of METROLINE_MODELS. Raises MetrolineError."""
    if folders := _folders(environment.get("METROLINE_BUNDLES", "")):
        return folders
    if names := [name for each in environment.get("METROLINE_MODELS", "").split(",") if (name := each.strip())]:
        from serving.store import resolve

        return [resolve(name, environment=environment) for name in names]
    hint = "set METROLINE_BUNDLES=FOLDER or METROLINE_MODELS=RECIPE"
    raise MetrolineError("which model is to be served?", hint=hint)


def _folders(text: str) -> list[Path]:
    """The folders that METROLINE_BUNDLES names. Raises MetrolineError for a list that is none."""
    if not text.startswith("["):
        return [Path(each) for each in text.split(os.pathsep) if each]
    try:
        return [Path(each) for each in json.loads(text)]
    except (ValueError, TypeError):
        hint = 'folders separated by colons, or ["FOLDER", "FOLDER"]'
        raise MetrolineError(f"METROLINE_BUNDLES={text} is no JSON list of folders", hint=hint) from None


def load_all(paths: Sequence[Path], precision: str | None = None) -> "list[Bundle]":
    """Verify and read several bundles that one server is to serve by name. Raises MetrolineError, as `load` does."""
    bundles = [Bundle.load(path, precision) for path in paths]
    for i, bundle in enumerate(bundles):
        if any(other.name == bundle.name for other in bundles[:i]):
            hint = "a request picks one by its name"
            raise MetrolineError(f"{bundle.path}: another bundle is named {bundle.name} too", hint=hint)
    return bundles


def _demand(path: Path, listed: frozenset[str], *names: str) -> None:
    """Raise MetrolineError for the first file that the manifest does not list."""
    for name in names:
        if name not in listed:
            raise MetrolineError(f"{path}: the manifest does not list {name}", hint=REBUILD)


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
