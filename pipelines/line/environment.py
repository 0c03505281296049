"""The process environment that every command of the line runs in.

It finds the project's folder, keeps each tool's state below `.metroline/`, and turns telemetry and update checks off.
What the user has already set in the environment stays, unless no program could work with it (base/network.py). It
starts nothing.
"""

import os
import pwd
import sys
from contextlib import suppress
from pathlib import Path

from base import network
from base.errors import MetrolineError
from base.writable import STATE, can_write

MARKS = ("dvc.yaml", "pipelines/recipes")

QUIET = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "BENTOML_DO_NOT_TRACK": "True",  # exactly this word
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
PREFECT = {
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",  # its 20 s are too few for two busy cores
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # the least there is; the zombie automation waits for three of them
}

THREADS = {
    # PyTorch's threads that wait for each other spin for some 0.1 ms, then sleep. By default they spin for
    # milliseconds: beside other work that takes the very core they wait for (benchmarks/contention.py).
    "GOMP_SPINCOUNT": "10000",
}


def project_root(start: Path | None = None) -> Path:
    """The folder with `dvc.yaml` and the recipes: METROLINE_ROOT, or the nearest one from `start` (default: here) up.

    Raises MetrolineError when there is none.
    """
    if chosen := os.environ.get("METROLINE_ROOT"):
        candidates = [Path(chosen).resolve()]
    else:
        start = (start or Path.cwd()).resolve()
        candidates = [start, *start.parents]
    for folder in candidates:
        if all((folder / mark).exists() for mark in MARKS):
            return folder
    raise MetrolineError(
        f"no Metroline project in {candidates[0]}" + ("" if chosen else " or above"),
        hint="run it in the folder that holds dvc.yaml, or set METROLINE_ROOT",
    )


def variables(root: Path) -> dict[str, str]:
    """Variables that are set unless they are set already."""
    state = root / STATE
    return {
        **QUIET,
        **PREFECT,
        **THREADS,
        "PREFECT_HOME": str(state / "prefect"),
        "BENTOML_HOME": str(state / "bentoml"),
        **_user(state),
    }


def _user(state: Path) -> dict[str, str]:
    """What tools ask of the user: a name, a home, and a place for caches.

    A container's user may be a number alone, with no entry in the list of users, and with a home that is `/` or absent.
    """
    try:
        listed = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        listed = ""
    home = os.environ.get("HOME") or listed or str(state / "home")
    found = {"HOME": home} if listed else {"HOME": home, "USER": f"uid{os.getuid()}"}
    if not can_write(Path(home, ".cache")):
        cache = state / "cache"
        found |= {"XDG_CACHE_HOME": str(cache), "MPLCONFIGDIR": str(cache / "matplotlib"), "TRITON_HOME": str(cache)}
    return found


def match_git(root: Path) -> None:
    """Tell DVC, in .dvc/config.local, when the project is in no Git repository (an unpacked archive), or now in one."""
    local = root / ".dvc/config.local"
    no_git = not any((folder / ".git").exists() for folder in (root, *root.parents))
    told = local.is_file() and "no_scm = true" in local.read_text(encoding="utf-8").lower()
    if no_git == told or not local.parent.is_dir():
        return
    from dvc.config import Config

    with Config(str(local.parent), validate=False).edit("local") as config:
        config.setdefault("core", {})["no_scm"] = no_git


def enter(start: Path | None = None) -> Path:
    """Find the project, make it the working folder, set the environment. Returns the project's root.

    This interpreter's scripts come first on PATH: stages are started as `metroline stage ...`, also when `.venv` is
    not activated.
    """
    root = project_root(start)
    os.chdir(root)
    for text in network.mend(os.environ):
        print(f"warning: {text}", file=sys.stderr)
    with suppress(OSError):  # where they cannot be written, whoever needs them says so
        (root / STATE).mkdir(exist_ok=True)
        match_git(root)
    if not os.path.isabs(os.environ.get("HOME", "")):
        os.environ.pop("HOME", None)
    for name, value in variables(root).items():
        os.environ.setdefault(name, value)
    scripts = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", "").split(os.pathsep)
    if path[:1] != [scripts]:
        os.environ["PATH"] = os.pathsep.join([scripts, *path])
    return root
