"""The reading side of the model store: which release of a recipe is live, and where its bundle lies.

    <BENTOML_HOME>/metroline/speeches.json              {"live": "speeches:0a1b...", "previous": ... or null,
                                                         "candidate": ... or null, "plan": ... or null}
    <BENTOML_HOME>/models/speeches/0a1b.../             the bundle, as BentoML keeps models

It changes nothing: `pipelines/release/stage.py` writes. Hashes are checked by `serving.bundle`, where the
bundle is opened.
"""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from base.adapters import FILE, mismatch
from base.delivery import Plan
from base.errors import MetrolineError

log = logging.getLogger("metroline.store")

STORE = "METROLINE_STORE"
"""Variable with the store, for the processes of a server: there BENTOML_HOME is a folder that BentoML can write to."""


def home(environment: Mapping[str, str] = os.environ) -> Path:
    """The store: BENTOML_HOME, which every command sets; BentoML's own default where it is not set."""
    return Path(environment.get(STORE) or environment.get("BENTOML_HOME") or "~/bentoml").expanduser()


def resolve(name: str, pointer: str = "live", environment: Mapping[str, str] = os.environ) -> Path:
    """The bundle that the `live` (or `previous`) release of a recipe points at.

    Raises MetrolineError: nothing released, a pointer file that cannot be read, a release that is gone.
    """
    return _folder(name, pointer, _pointers(name, environment), environment)


def candidate(name: str, environment: Mapping[str, str] = os.environ) -> tuple[Path, Plan] | None:
    """The bundle that is tried beside the live one, and how; None: there is none.

    Raises MetrolineError, as `resolve`.
    """
    pointers = _pointers(name, environment)
    if pointers.get("candidate") is None:
        return None
    try:
        plan = Plan.of(pointers["plan"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        hint = f"metroline rollback {name} drops the candidate"
        raise MetrolineError(f"the plan of {pointers['candidate']} cannot be read: {error!r}", hint=hint) from None
    return _folder(name, "candidate", pointers, environment), plan


def _pointers(name: str, environment: Mapping[str, str]) -> dict[str, Any]:
    store = home(environment)
    path = store / "metroline" / f"{name}.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {**found, "live": found["live"]}
    except FileNotFoundError:
        released = sorted(file.stem for file in path.parent.glob("*.json"))
        hint = f"metroline run {name}" + (f"; there are releases of {', '.join(released)}" if released else "")
        raise MetrolineError(f"no release of {name} in {store}", hint=hint) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable(name, path, error) from None


def _folder(name: str, pointer: str, pointers: Mapping[str, Any], environment: Mapping[str, str]) -> Path:
    store = home(environment)
    path = store / "metroline" / f"{name}.json"
    try:
        tag = pointers[pointer]
    except KeyError as error:
        raise _unreadable(name, path, error) from None
    if tag is None:
        raise MetrolineError(f"there is no {pointer} release of {name}")
    recipe, _, version = str(tag).partition(":")
    if recipe != name or not version.isalnum():
        raise MetrolineError(f"{path}: {pointer} is {tag!r}, which is no release of {name}")
    folder = store / "models" / recipe / version
    if not folder.is_dir():
        raise MetrolineError(f"{tag} is {pointer}, but not in {store}", hint=f"metroline run {name} releases again")
    return folder


def _unreadable(name: str, path: Path, error: Exception) -> MetrolineError:
    return MetrolineError(f"{path}: cannot be read: {error!r}", hint=f"metroline run {name} writes it again")


def adapters(base: Path, environment: Mapping[str, str] = os.environ) -> list[Path]:
    """The bundles of the live adapters of the release in the folder `base`, by name.

    Those of other weights than the release's are left out, and it is logged: the base is served all the same.
    """
    manifest = _read(base / "manifest.json")
    found = []
    for pointer in sorted((home(environment) / "metroline").glob("*.json")):
        try:
            folder = resolve(pointer.stem, environment=environment)
        except MetrolineError:
            continue  # nothing of it is live
        said = _read(folder / FILE)
        if not said or said.get("base") != manifest.get("name"):
            continue
        if mismatch(said, manifest.get("files", {})) is None:
            found.append(folder)
        else:
            log.error("adapter not served: it was made for another release of its base",
                      extra={"fields": {"adapter": pointer.stem, "base": manifest.get("name")}})  # fmt: skip
    return found


def _read(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none. Whoever loads the bundle says what is wrong with it."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
