"""manifest.json: what a bundle holds and where it came from; the version is a hash of the files, nothing else.

Written by `export`, checked by `release` and again by whoever serves. No time stamps: equal files, equal manifest.
"""

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

from data.errors import MetrolineError
from data.files import read_json, sha256, write_json

FORMAT = 1
NAME = "manifest.json"
CODE = ("data", "kernels", "models", "pipelines", "serving", "pyproject.toml", "constraints.txt")


def version_of(files: dict[str, str]) -> str:
    """The first 12 hexadecimal digits of a hash over the files' sorted hashes."""
    return hashlib.sha256("".join(sorted(files.values())).encode()).hexdigest()[:12]


def write(folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Hash all files of `folder`, add `values`, write the manifest and return it."""
    files = {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.is_file() and path.name != NAME}
    manifest = {**values, "format": FORMAT, "version": version_of(files), "files": files}
    write_json(folder / NAME, manifest)
    return manifest


def verify(folder: Path) -> dict[str, Any]:
    """Return the manifest of a whole bundle. Raises MetrolineError naming the first file that is not as exported."""
    hint = "export it again: metroline stage export RECIPE"
    if not folder.is_dir():
        raise MetrolineError(f"no bundle at {folder}", hint=hint)
    try:
        manifest = read_json(folder / NAME)
        files = dict(manifest["files"])
        version = str(manifest["version"])
    except FileNotFoundError:
        raise MetrolineError(f"{folder}: {NAME} is missing", hint=hint) from None
    except (ValueError, KeyError, TypeError) as error:
        raise MetrolineError(f"{folder / NAME}: cannot be read: {error!r}", hint=hint) from None
    if manifest.get("format") != FORMAT:
        raise MetrolineError(f"{folder}: bundle format {manifest.get('format')!r}, but this code knows {FORMAT}")
    for name, expected in sorted(files.items()):
        path = folder / name
        if Path(name).name != name:
            raise MetrolineError(f"{folder}: the manifest lists {name!r}, which is outside the bundle")
        if not path.is_file():
            raise MetrolineError(f"{folder}: {name} is missing", hint=hint)
        if sha256(path) != expected:
            raise MetrolineError(f"{folder}: {name} is not the file that was exported", hint=hint)
    if version != version_of(files):
        raise MetrolineError(f"{folder / NAME}: the list of files is not the one that was exported", hint=hint)
    return manifest


def git_commit(root: Path) -> str | None:
    """The last commit that changed code, with `+` when there are changes that are in no commit; None without git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments, "--", *CODE]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()

    try:
        commit = git("log", "-1", "--format=%H")
        return (commit + ("+" if git("status", "--porcelain") else "")) or None
    except (OSError, subprocess.SubprocessError):
        return None


def plain(value: Any) -> Any:
    """A pydantic model as values that JSON can hold."""
    return json.loads(value.model_dump_json())
