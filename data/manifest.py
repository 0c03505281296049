"""manifest.json: what a bundle holds and where it came from; the version is a hash of the files, nothing else.

Written by `pipelines.export`, checked by `pipelines.release` and again by whoever serves. No time stamps: equal files,
equal manifest. It reads none of the other files.
"""

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from data.errors import MetrolineError
from data.files import read_object, sha256, write_json

FORMAT = 1
NAME = "manifest.json"
REBUILD = "export it again: metroline run RECIPE"
HASHED_AT_ONCE = 4  # files: a gigabyte takes a core a second


def write(folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Hash all files of `folder`, add `values`, write the manifest and return it."""
    files = {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.is_file() and path.name != NAME}
    manifest = {**values, "format": FORMAT, "version": _version(files), "files": files}
    write_json(folder / NAME, manifest)
    return manifest


def verify(folder: Path) -> dict[str, Any]:
    """Return the manifest of a whole bundle. Raises MetrolineError naming the first file that is not as exported."""
    if not folder.is_dir():
        raise MetrolineError(f"no bundle at {folder}", hint="export it: metroline run RECIPE")
    manifest = read_object(folder / NAME, hint=REBUILD)
    if manifest.get("format") != FORMAT:
        raise MetrolineError(f"{folder}: bundle format {manifest.get('format')!r}, but this code knows {FORMAT}")
    files = manifest.get("files")
    if not isinstance(files, dict) or not files:
        raise MetrolineError(f"{folder}: the manifest lists no files", hint=REBUILD)
    names = sorted(files)
    for name in names:
        if Path(name).name != name:
            raise MetrolineError(f"{folder}: the manifest lists {name!r}, which is outside the bundle")
        if not (folder / name).is_file():
            raise MetrolineError(f"{folder}: {name} is missing", hint=REBUILD)
    with ThreadPoolExecutor(HASHED_AT_ONCE) as pool:
        for name, found in zip(names, pool.map(sha256, [folder / name for name in names]), strict=True):
            if found != files[name]:
                raise MetrolineError(f"{folder}: {name} is not the file that was exported", hint=REBUILD)
    if manifest.get("version") != _version(files):
        raise MetrolineError(f"{folder}: the manifest's list of files is not the one that was exported", hint=REBUILD)
    return manifest


def _version(files: Mapping[str, str]) -> str:
    """The first 12 hexadecimal digits of a hash over the files' sorted hashes."""
    return hashlib.sha256("".join(sorted(files.values())).encode()).hexdigest()[:12]
