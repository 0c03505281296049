"""The bundles of one server, each as its own engine reads it."""

from collections.abc import Sequence
from pathlib import Path

from base import adapters
from base.errors import MetrolineError
from data.signature import FILE, Signature
from serving.bundle import Bundle
from serving.engines.decode.adapter_bundle import AdapterBundle
from serving.engines.decode.bundle import DecoderBundle
from serving.engines.forward.bundle import ForwardBundle
from serving.engines.retrieve.bundle import RetrieveBundle
from serving.trust import require

KINDS: dict[str, type[Bundle]] = {"decode": DecoderBundle, "forward": ForwardBundle, "retrieve": RetrieveBundle}
"""Engine → its bundles."""


def load(path: Path, precision: str | None = None) -> Bundle:
    """Verify the bundle at `path` and read what its engine needs. Raises MetrolineError, as `Bundle.load` does."""
    engine = Signature.load(path / FILE).engine if (path / FILE).is_file() else "decode"
    kind = AdapterBundle if (path / adapters.FILE).is_file() else KINDS[engine]
    bundle = kind.load(path, precision)
    if bundle.engine != engine:  # signature.json lies there, and the manifest does not list it
        raise MetrolineError(f"{path}: the manifest does not list {FILE}", hint="export the model again")
    return bundle


def load_all(paths: Sequence[Path], precision: str | None = None, trust: str = "") -> list[Bundle]:
    """Verify and read several bundles that one server is to serve by name. Raises MetrolineError, as `load` does, and
    for one that none of the keys in `trust` has signed."""
    require(paths, trust)
    bundles = [load(path, precision) for path in paths]
    for i, bundle in enumerate(bundles):
        if any(other.name == bundle.name for other in bundles[:i]):
            hint = "a request picks one by its name"
            raise MetrolineError(f"{bundle.path}: another bundle is named {bundle.name} too", hint=hint)
    alone = [each for each in bundles if isinstance(each, AdapterBundle)]
    if alone and len(alone) == len(bundles):
        hint = f"metroline serve {alone[0].base}"
        raise MetrolineError(f"{alone[0].name} is an adapter, which is served with its base", hint=hint)
    return bundles
