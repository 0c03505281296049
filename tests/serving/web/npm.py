"""Packages of JavaScript for tests in a browser, fetched with npm once and kept."""

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest


def unpacked(package: str, version: str, cache: Path) -> Path:
    """A package's folder in `cache`. Where npm is missing or cannot fetch, the test is skipped, but on CI it fails."""
    folder = cache / f"{package}-{version}"
    if folder.is_dir():
        return folder
    npm = shutil.which("npm")
    if npm is None:
        return _cannot("needs npm: apt-get install npm")
    command = [npm, "pack", f"{package}@{version}", "--silent", "--pack-destination", str(cache)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=cache)
    if ended.returncode:
        return _cannot(f"npm cannot fetch {package}@{version}: {ended.stderr.strip()[-300:]}")
    archive = cache / ended.stdout.split()[-1]
    partial = cache / f"{package}-{version}.{os.getpid()}"
    with tarfile.open(archive) as packed:
        packed.extractall(partial, filter="data")
    archive.unlink()
    (partial / "package").rename(folder)
    partial.rmdir()
    return folder


def _cannot(reason: str) -> Path:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
