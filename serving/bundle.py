"""A bundle on disk: find it, check every hash in its manifest, read what every engine needs of it.

    METROLINE_BUNDLES=artifacts/speeches/bundle    folders, separated by colons, or a JSON list of them; or
    METROLINE_MODELS=speeches,smollm2              recipes, whose live releases are taken from the model store, and
                                                   with them the live adapters of theirs

A bundle with a missing, changed or unlisted file that serving would read is refused. It loads no model. What only one
engine needs is read by that engine's own bundle (`serving/engines/ENGINE/bundle.py`).
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from base.errors import MetrolineError
from base.files import read_object
from base.forms import GRAPHS
from base.manifest import REBUILD, seal, verify
from data.signature import FILE as SIGNATURE
from data.signature import Engine, Signature

SEALS = "METROLINE_SEALS"
"""The environment variable by which a process tells those it starts which bundles it has hashed: a gigabyte takes a
second, and three processes look at it before the first request. A bundle that was written to since is hashed again."""


@dataclass(frozen=True)
class Bundle:
    """A verified bundle."""

    path: Path
    name: str
    version: str
    data_hash: str
    precision: str
    created: int
    """Unix time of the manifest file."""
    files: frozenset[str]
    """Names of the verified files."""
    reference: Mapping[str, Any] | None
    """What `evaluate` measured on the test split, to judge drift by; None: the bundle has none."""
    signature: Signature | None
    """None: exported before there were signatures, by the decoder's exporter."""
    manifest: Mapping[str, Any] = field(repr=False, compare=False)
    serving: Mapping[str, Any] = field(repr=False, compare=False)
    """The contents of manifest.json and serving.json."""

    @property
    def engine(self) -> Engine:
        """What runs it."""
        return self.signature.engine if self.signature else "decode"

    @property
    def graph(self) -> Path:
        """The ONNX file that answers."""
        return self.path / GRAPHS[self.precision]

    @classmethod
    def load(cls, path: Path, precision: str | None = None) -> Self:
        """Verify the bundle at `path` and read it. `precision` (auto, fp32, int8, int4) overrides the bundle's own;
        the engine makes one of the others out of auto.

        Raises MetrolineError: no bundle there, damaged, or without the graph for that precision.
        """
        manifest = verify(path, set(os.environ.get(SEALS, "").split()))
        listed = frozenset(manifest["files"])
        demand(path, listed, "serving.json")
        serving = read_object(path / "serving.json", hint=REBUILD)
        precision = precision or serving.get("precision", "fp32")
        if precision not in ("auto", *GRAPHS):
            raise MetrolineError(f"{path}: unknown precision {precision!r}", hint="auto, fp32, int8 or int4")
        demand(path, listed, *cls.graphs(precision))
        common: dict[str, Any] = {
            "path": path, "precision": precision, "files": listed, "manifest": manifest, "serving": serving,
            "created": int((path / "manifest.json").stat().st_mtime),
            "reference": read_object(path / "reference.json", hint=REBUILD) if "reference.json" in listed else None,
            "signature": Signature.load(path / SIGNATURE) if SIGNATURE in listed else None,
        }  # fmt: skip
        try:
            common |= {"name": str(manifest["name"]), "version": str(manifest["version"]),
                       "data_hash": str(manifest.get("data_hash") or "unknown")}  # fmt: skip
            return cls(**common | cls.facts(path, listed, manifest, serving))
        except (KeyError, TypeError, ValueError) as error:
            raise MetrolineError(f"{path}: manifest.json or serving.json lacks {error}", hint=REBUILD) from None

    @classmethod
    def graphs(cls, precision: str) -> tuple[str, ...]:
        """The files that must be there to answer with a precision."""
        return (GRAPHS.get(precision, GRAPHS["fp32"]),)

    @classmethod
    def facts(
        cls, path: Path, listed: frozenset[str], manifest: Mapping[str, Any], serving: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What an engine's own bundle has beside these. Raises MetrolineError, KeyError, TypeError, ValueError."""
        return {}


def seals(bundles: Iterable[Bundle]) -> str:
    """What SEALS is to be for processes that start once these bundles are verified."""
    return " ".join(seal(bundle.path, bundle.files) for bundle in bundles)


def locate(environment: Mapping[str, str] = os.environ) -> list[Path]:
    """The folders of METROLINE_BUNDLES, else the live releases of METROLINE_MODELS and their adapters'.

    Raises MetrolineError.
    """
    if folders := _folders(environment.get("METROLINE_BUNDLES", "")):
        return folders
    if names := [name for each in environment.get("METROLINE_MODELS", "").split(",") if (name := each.strip())]:
        from serving.store import adapters, resolve

        bases = [resolve(name, environment=environment) for name in names]
        return [*bases, *(path for base in bases for path in adapters(base, environment))]
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


def demand(path: Path, listed: frozenset[str], *names: str) -> None:
    """Raise MetrolineError for the first file that the manifest does not list."""
    for name in names:
        if name not in listed:
            raise MetrolineError(f"{path}: the manifest does not list {name}", hint=REBUILD)
