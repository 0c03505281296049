"""`metroline doctor`: what this machine lacks, what for, and how to get it.

It looks and changes nothing (a probe file aside), reaches no network, and imports no torch.
"""

import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape

from base.parallel import cores

Level = Literal["ok", "optional", "missing"]
MARK: dict[Level, str] = {"ok": "[green]✓[/]", "optional": "[yellow]○[/]", "missing": "[red]✗[/]"}
PYTHONS = ((3, 11), (3, 13))
DISK = 3.0
"""GB that `speeches` with its caches, a second release and Prefect's database take, rounded up."""
MEMORY = 3.0
"""GB that training `speeches` and the endpoint take together, rounded up."""
PORTS = {3000: "endpoint: serve and demo take another one with --port", 4200: "Prefect server: schedule --port"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `remedy` is for what is not ok."""

    level: Level
    name: str
    detail: str
    remedy: str = ""


def python() -> Finding:
    """The interpreter's version."""
    version, text = sys.version_info[:2], platform.python_version()
    good = PYTHONS[0] <= version <= PYTHONS[1]
    return Finding("ok" if good else "missing", "python", text, "3.11, 3.12 or 3.13: make setup PYTHON=python3.12")


def pins(constraints: Path) -> dict[str, str]:
    """`name==version` lines of a constraints file whose environment marker, if any, holds here."""
    from packaging.requirements import Requirement

    found = {}
    for line in constraints.read_text(encoding="utf-8").splitlines():
        text = line.partition(" #")[0].strip()
        if text and not text.startswith(("#", "-")):
            requirement = Requirement(text)
            exact = re.fullmatch(r"==(\S+)", str(requirement.specifier))
            if exact and (requirement.marker is None or requirement.marker.evaluate()):
                found[requirement.name] = exact[1]
    return found


def packages(root: Path) -> Finding:
    """Installed packages against what the project needs and against the pinned set."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    remedy = "rm .venv/.installed && make setup"
    try:
        needed = [Requirement(text) for text in metadata.requires("metroline") or []]
        pinned = pins(root / "constraints.txt")
    except (metadata.PackageNotFoundError, OSError) as error:
        return Finding("missing", "packages", f"not installed: {error}", remedy)
    absent, wrong, other = [], [], []
    for requirement in needed:
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            absent.append(requirement.name)
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} (needs {requirement.specifier})")
        elif (pin := pinned.get(requirement.name)) and version not in SpecifierSet(f"=={pin}", prereleases=True):
            other.append(f"{requirement.name} {version} (tested with {pin})")
    if absent or wrong:
        return Finding("missing", "packages", "; ".join([*(f"no {name}" for name in absent), *wrong]), remedy)
    return Finding("optional" if other else "ok", "packages", "; ".join(other) or "as pinned", remedy)


def program(name: str, commands: tuple[str, ...], use: str, remedy: str) -> Finding:
    """Whether one of some programs is on PATH."""
    found = next((path for command in commands if (path := shutil.which(command))), None)
    return Finding("ok" if found else "optional", name, found or f"none; needed for {use}", remedy)


def accelerator() -> Finding:
    """A GPU that the system's own tools see."""
    for command in (
        ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"],
        ["rocm-smi", "--showproductname"],
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            continue
        return Finding("ok", "gpu", "; ".join(done.stdout.strip().splitlines()[:4]))
    return Finding("ok", "gpu", f"none; {cores()} CPU cores train the shipped recipes in minutes")


def writable(root: Path) -> Finding:
    """Whether the project's folder can be written."""
    state = root / ".metroline"
    try:
        state.mkdir(exist_ok=True)
        for folder in (root, state):
            with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-"):
                pass
    except OSError as error:
        return Finding(
            "missing", "folder", f"cannot write: {error}", f"sudo chown -R $USER {root}, or clone it elsewhere"
        )
    return Finding("ok", "folder", f"{root} is writable")


def disk(root: Path) -> Finding:
    """Free space below the project."""
    free = shutil.disk_usage(root).free / 1e9
    level: Level = "ok" if free >= DISK else "missing" if free < 1 else "optional"
    return Finding(
        level, "disk", f"{free:,.1f} GB free", f"{DISK:g} GB are comfortable: dvc gc --workspace frees old outputs"
    )


def memory() -> Finding:
    """Memory that is available now."""
    import psutil

    free = psutil.virtual_memory().available / 1e9
    return Finding("ok" if free >= MEMORY else "optional", "memory", f"{free:,.1f} GB available",
                   f"below {MEMORY:g} GB training may be killed: close something or use a smaller model")  # fmt: skip


def port(number: int) -> Finding:
    """Whether a port can be listened on."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
        except OSError as error:
            return Finding("optional", f"port {number}", f"taken ({error.strerror})", PORTS[number])
    return Finding("ok", f"port {number}", "free")


def kernels(root: Path) -> Finding:
    """Serving's kernels in C, which installation builds for one version of Python."""
    folder = root / "serving/native"
    remedy = "rm .venv/.installed && make setup"
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        remedy = f"apt install gcc, then: {remedy}"
    built = next((path for suffix in EXTENSION_SUFFIXES if (path := folder / f"kernels{suffix}").is_file()), None)
    if built is None:
        return Finding("optional", "kernels", "serving's C kernels are not built: it is slower without", remedy)
    age = built.stat().st_mtime
    newer = [path.name for path in sorted(folder.glob("*.[ch]")) if path.stat().st_mtime > age]
    if newer:  # a build that fails leaves the library of the one before
        sources = newer[0] if len(newer) == 1 else f"{newer[0]} and {len(newer) - 1} more of its sources"
        return Finding("optional", "kernels", f"{built.name} is older than {sources}", remedy)
    return Finding("ok", "kernels", str(built.relative_to(root)))


def mirror() -> Finding:
    """Where the recipes' files will come from."""
    folder = os.environ.get("METROLINE_MIRROR")
    if not folder:
        return Finding("ok", "mirror", "METROLINE_MIRROR is not set: files come from the network")
    if Path(folder).is_dir():
        return Finding("ok", "mirror", f"{folder}, then the network")
    return Finding("optional", "mirror", f"METROLINE_MIRROR={folder} is no folder", "unset it, or create the folder")


def repository(root: Path) -> Finding:
    """DVC's folder."""
    there = (root / ".dvc/config").is_file()
    return Finding(
        "ok" if there else "missing", "dvc", ".dvc/config" if there else "no .dvc/config", "git checkout .dvc"
    )


def remote(root: Path) -> Finding:
    """Where `dvc push` and `dvc pull` go."""
    from pipelines.commands.remote import look

    good, detail, remedy = look(root)
    return Finding("ok" if good else "optional", "remote", detail, remedy)


def findings(root: Path) -> Iterator[Finding]:
    """Everything that is looked at, in order."""
    yield python()
    yield packages(root)
    yield writable(root)
    yield repository(root)
    yield remote(root)
    yield disk(root)
    yield memory()
    yield accelerator()
    yield program(
        "compiler", ("g++", "c++", "clang++"), "torch.compile on CPUs (training is slower without)", "apt install g++"
    )
    yield kernels(root)
    yield program("git", ("git",), "dvc metrics diff, dvc plots diff, and the commit in a manifest", "apt install git")
    yield program(
        "prometheus",
        ("prometheus",),
        "dashboards and alerts",
        "apt install prometheus, or serving/monitoring/compose.yaml",
    )
    yield program("promtool", ("promtool",), "testing the alert rules", "apt install prometheus")
    yield program(
        "chromium", ("chromium", "chromium-browser", "google-chrome"), "the playground's tests", "apt install chromium"
    )
    yield mirror()
    for number in PORTS:
        yield port(number)


def examine(root: Path, console: Console, look: Callable[[Path], Iterator[Finding]] = findings) -> int:
    """Print all findings. Returns the exit code: 1 when something essential is missing."""
    code = 0
    for found in look(root):
        console.print(f"{MARK[found.level]} {found.name:<11} {escape(found.detail)}", highlight=False, soft_wrap=True)
        if found.level != "ok" and found.remedy:
            console.print(f"  {'':<11} [dim]→ {escape(found.remedy)}[/]", highlight=False, soft_wrap=True)
        if found.level == "missing":
            code = 1
    console.print("[red]Something essential is missing.[/]" if code else "Ready for: metroline demo")
    return code
