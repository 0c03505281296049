"""A Bento of the live release: the serving code, the bundle and pinned requirements, ready for a container. No torch.

    python -m pipelines.release.bento speeches

It holds only the modules that `serving/` reaches by its imports, and for its requirements only what those modules
import, at the installed versions with all they need in turn. It builds no image: that takes Docker or Podman, with the
containerfile it writes.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from base.errors import MetrolineError, exit_with
from base.files import read_object
from base.imports import OURS, closure, imports
from pipelines.release.adapters import base_of
from pipelines.release.store import Store

FORBIDDEN = frozenset({"torch", "triton", "prefect", "dvc"})

ENTRY = '''"""The packaged endpoint: serves the bundle beside this file."""

import json
import os
from pathlib import Path

os.environ.setdefault("METROLINE_BUNDLES", json.dumps([str(Path(__file__).resolve().parent / "bundle")]))

from serving.app.service import Metroline  # noqa: E402

__all__ = ["Metroline"]
'''

BUILD = """
import json, sys
import bentoml
from bentoml.container import get_containerfile
values = json.loads(sys.argv[1])
if values["build"] is not None:
    bentoml.build("endpoint:Metroline", build_ctx=".", **values["build"])
get_containerfile(values["tag"], output_path=values["containerfile"])
"""


@dataclass(frozen=True)
class Built:
    """A finished Bento: its tag, its folder in the store, and the containerfile for it."""

    tag: str
    folder: Path
    containerfile: Path


def build_bento(name: str, root: Path = Path(".")) -> Built:
    """Build the Bento of the live release of `name`, or find it when it is there already.

    The containerfile goes to `dist/NAME.containerfile`; `bentoml containerize TAG` does the same and builds the image.
    Raises MetrolineError: nothing released, a damaged release, or BentoML's own reason.
    """
    store = Store.of(root)
    live = store.pointers(name).live
    if live is None:
        raise MetrolineError(f"nothing of {name} is released", hint=f"metroline run {name}")
    release = store.check(live)
    if base := base_of(store.folder(live)):
        raise MetrolineError(f"{name} is an adapter, which is no endpoint of its own", hint=f"build that of {base}")
    folder = store.home.resolve() / "bentos" / name / release["version"]
    containerfile = root.resolve() / "dist" / f"{name}.containerfile"
    there = (folder / "bento.yaml").is_file()
    if not there or not containerfile.is_file():
        containerfile.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="metroline-bento-") as staging:
            values: dict[str, Any] = {"tag": live, "containerfile": str(containerfile), "build": None}
            if not there:
                shutil.rmtree(folder, ignore_errors=True)  # what a killed build left
                values["build"] = options(release, stage(Path(staging), store.folder(live)))
            _build(Path(staging), live, values, store.home)
    return Built(live, folder, containerfile)


def stage(staging: Path, bundle: Path) -> list[str]:
    """Put entry, code and bundle into `staging`. Returns the pinned requirements."""
    code = Path(__file__).resolve().parents[2]
    files = sorted(code / file for file in closure("serving.app.service", root=code))
    pages = [path for path in (code / "serving/web").glob("*") if path.is_file()]
    for file in [*files, *pages, *(code / "serving/native").glob("*.so")]:
        target = staging / file.relative_to(code)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    shutil.copytree(bundle, staging / "bundle", ignore=shutil.ignore_patterns("model.yaml"))
    (staging / "endpoint.py").write_text(ENTRY, encoding="utf-8")
    more = read_object(bundle / "serving.json").get("libraries", ())  # an index's store, which no other model needs
    return pinned({*third_party(files), *more})


def third_party(files: Iterable[Path]) -> set[str]:
    """Distributions that the files import, by name; those of the standard library and ours left out."""
    packages = metadata.packages_distributions()
    top = {name.split(".")[0] for file in files for name in imports(file)} - set(OURS) - sys.stdlib_module_names
    missing = sorted(name for name in top if name not in packages)
    if missing:
        raise MetrolineError(f"serving imports {', '.join(missing)}, not installed here", hint="make setup")
    return {canonicalize_name(packages[name][0]) for name in top}


def pinned(names: Iterable[str]) -> list[str]:
    """`name==version` of distributions and all they need here, sorted. Raises MetrolineError if torch is among them."""
    pins: dict[str, str] = {}
    open_ = [Requirement(name) for name in names]
    seen: set[tuple[str, frozenset[str]]] = set()
    while open_:
        requirement = open_.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            raise MetrolineError(f"the endpoint needs {name}, which is not installed here", hint="make setup") from None
        pins[name] = distribution.version
        for text in distribution.requires or []:
            needed = Requirement(text)
            environments = [{"extra": extra} for extra in extras] or [{"extra": ""}]
            if needed.marker is None or any(needed.marker.evaluate(each) for each in environments):
                open_.append(needed)
    if unwanted := FORBIDDEN & pins.keys():
        raise MetrolineError(f"the endpoint would need {', '.join(sorted(unwanted))}; look for the import in serving/")
    return [f"{name}=={version}" for name, version in sorted(pins.items())]


def options(release: dict[str, Any], pins: list[str]) -> dict[str, Any]:
    """What `bentoml.build` is told; the same as in a bentofile.yaml."""
    return {
        "name": release["name"],
        "version": release["version"],
        "description": "file:bundle/README.md",
        "include": ["*"],
        "labels": {"data_hash": str(release["data_hash"])[:12]},
        "python": {"packages": pins, "lock_packages": False},  # locked already, and without the network
        "docker": {"python_version": ".".join(platform.python_version_tuple()[:2])},
    }


def _build(staging: Path, tag: str, values: dict[str, Any], home: Path) -> None:
    """Run BUILD in a process of its own: BentoML imports the service, and its store is fixed once it is imported."""
    scripts = str(Path(sys.executable).parent)  # BentoML looks for uv
    environment = {
        **{key: value for key, value in os.environ.items() if key not in ("METROLINE_BUNDLES", "METROLINE_MODELS")},
        "BENTOML_HOME": str(home.resolve()),
        "BENTOML_DO_NOT_TRACK": "True",
        "PATH": os.pathsep.join([scripts, os.environ.get("PATH", "")]),
    }
    done = subprocess.run(
        [sys.executable, "-c", BUILD, json.dumps(values)], cwd=staging, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise MetrolineError(f"bentoml build of {tag} failed: {last}")


def main() -> int:
    """Build the Bento of the recipe that is named on the command line. Returns the exit status."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m pipelines.release.bento RECIPE")
    built = build_bento(sys.argv[1])
    print(f"{built.tag}\n{built.folder}\n{built.containerfile}")
    return 0


if __name__ == "__main__":
    exit_with(main)
