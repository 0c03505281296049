"""Adapters and their bases in the model store: which belongs to which, and what would leave an adapter alone.

An adapter is a release of its own recipe, served over the live release of another one, which it names by the SHA-256 of
its weights and of how it was exported. So whatever becomes live must go with what is live already.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from base.adapters import FILE, mismatch
from base.errors import MetrolineError
from base.files import read_json
from pipelines.release.store import Store


def base_of(bundle: Path) -> str | None:
    """The name of the base of an adapter's bundle; None: it is a whole model."""
    path = bundle / FILE
    return str(read_json(path)["base"]) if path.is_file() else None


def model_of(bundle: Path, name: str) -> str:
    """What requests call the release of `name` in a folder."""
    base = base_of(bundle)
    return f"{base}:{name}" if base else name


def live_base(store: Store, name: str) -> str:
    """The recipe whose endpoints serve `name`: its own, or its base's."""
    live = store.pointers(name).live
    return (base_of(store.folder(live)) if live else None) or name


def live_adapters(store: Store, base: str) -> dict[str, Path]:
    """Name → bundle of the live adapters of a base."""
    found = {}
    for path in sorted((store.home / "metroline").glob("*.json")):
        live = None if path.stem.startswith(".") else store.pointers(path.stem).live
        if live and base_of(store.folder(live)) == base:
            found[path.stem] = store.folder(live)
    return found


def check(store: Store, name: str, bundle: Path, manifest: Mapping[str, Any]) -> None:
    """Before the bundle of `name` becomes live.

    Raises MetrolineError: an adapter whose base is not live, or is other weights or another export than it was made
    for, or has no room left; a base that live adapters do not go with.
    """
    base = base_of(bundle)
    if base is None:
        for other, folder in live_adapters(store, name).items():
            if problem := _problem(folder, manifest):
                raise MetrolineError(
                    f"{name}:{manifest['version']} cannot be live while {other} is: {problem}",
                    hint=f"metroline retire {other}, and release it again afterwards",
                )
        return
    live = store.pointers(base).live
    if live is None:
        raise MetrolineError(f"{name} is an adapter of {base}, of which nothing is live", hint=f"metroline run {base}")
    theirs = store.check(live)
    if problem := _problem(bundle, theirs):
        raise MetrolineError(f"{name} is no adapter of {live}: {problem}", hint=f"metroline run {name} --force export")
    others = live_adapters(store, base).keys() - {name}
    room = int(theirs["model"].get("adapters", 0))
    if len(others) >= room:
        raise MetrolineError(
            f"{live} has room for {room} adapters, and {', '.join(sorted(others))} are live",
            hint=f"metroline retire {min(others)}, or raise export.adapters of {base}",
        )


def _problem(adapter: Path, base: Mapping[str, Any]) -> str | None:
    said = read_json(adapter / FILE)
    match mismatch(said, base["files"]):
        case "weights":
            return f"it was trained on other weights ({said['base_sha256'][:12]}…)"
        case "export":
            return "it was made for another export of the same weights"
    return None


def retire(store: Store, name: str) -> str:
    """Take a live adapter out of its base's endpoints; its releases stay. Returns the tag that was live.

    Raises MetrolineError: nothing live, or no adapter.
    """
    with store.locked():
        live = store.pointers(name).live
        if live is None:
            raise MetrolineError(f"nothing of {name} is live", hint="metroline status says what is")
        if base_of(store.folder(live)) is None:
            raise MetrolineError(f"{name} is a model of its own, not an adapter", hint="end its endpoint instead")
        store.forget(name)
        return live
