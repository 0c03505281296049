"""manifest.json: what a bundle holds and where it came from; the version is a hash of the files, nothing else.

Written by `pipelines.exporting.stage`, checked by `pipelines.release.stage` and again by whoever serves. No time
stamps: equal files, equal manifest. It reads none of the other files.
"""

import hashlib
from collections.abc import Container, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from base.errors import MetrolineError
from base.files import read_object, sha256, write_json

FORMAT = 1
NAME = "manifest.json"
REBUILD = "export it again: metroline run RECIPE"
HASHED_AT_ONCE = 4  # files: a gigabyte takes a core a second


def write(folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Hash all files in and below `folder`, add `values`, write the manifest and return it."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    files = {name: sha256(folder / name) for name in names if name != NAME}
    manifest = {**values, "format": FORMAT, "version": _version(files), "files": files}
    write_json(folder / NAME, manifest)
    return manifest


def verify(folder: Path, seals: Container[str] = ()) -> dict[str, Any]:
    """Return the manifest of a whole bundle. Raises MetrolineError naming the first file that is not as exported.

    A bundle whose `seal` is among `seals` was hashed before, and none of its files was written since: that is enough.
    """
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
        if not name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise MetrolineError(f"{folder}: the manifest lists {name!r}, which is outside the bundle")
        if not (folder / name).is_file():
            raise MetrolineError(f"{folder}: {name} is missing", hint=REBUILD)
    if not seals or seal(folder, names) not in seals:
        with ThreadPoolExecutor(HASHED_AT_ONCE) as pool:
            for name, found in zip(names, pool.map(sha256, [folder / name for name in names]), strict=True):
                if found != files[name]:
                    raise MetrolineError(f"{folder}: {name} is not the file that was exported", hint=REBUILD)
    if manifest.get("version") != _version(files):
        raise MetrolineError(f"{folder}: the manifest's list of files is not the one that was exported", hint=REBUILD)
    return manifest


def seal(folder: Path, names: Iterable[str]) -> str:
    """What the file system says of a bundle's files: which ones, how large, when they or their names last changed."""
    stats = [(name, (folder / name).stat()) for name in sorted({*names, NAME})]
    seen = [(name, stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for name, stat in stats]
    return hashlib.sha256(repr(seen).encode()).hexdigest()


def _version(files: Mapping[str, str]) -> str:
    """The first 12 hexadecimal digits of a hash over the files' sorted hashes."""
    return hashlib.sha256("".join(sorted(files.values())).encode()).hexdigest()[:12]
