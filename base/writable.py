"""Whether this user may write to the project, asked before work begins: a container's may be read-only or another's.

It writes nothing, not even to find out.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from base.errors import MetrolineError

STATE = ".metroline"
"""Folder for what tools keep: the model store, Prefect's database, DVC's default remote, logs."""
WRITTEN = (".", STATE, ".dvc", ".dvc/tmp", ".dvc/cache", "artifacts", "data/raw", "data/prepared")
"""Folders of a project that its line writes to."""


def can_write(path: Path) -> bool:
    """Whether this user may make or change files in a folder, or make the folder where it is not there yet."""
    there = _nearest(path)
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def check_writable(root: Path, folders: Iterable[str | Path] = WRITTEN) -> None:
    """Raise MetrolineError unless those of a project's folders can be written, or made."""
    for folder in (root.absolute() / each for each in folders):
        if not can_write(folder):
            there = _nearest(folder).resolve()
            read_only = os.statvfs(there).f_flag & os.ST_RDONLY
            why = "its file system is read-only" if read_only else f"it is closed to user {os.getuid()}"
            hint = "mount it writable" if read_only else f"sudo chown -R {os.getuid()} {there}"
            raise MetrolineError(f"{there} cannot be written: {why}", hint=hint)


def _nearest(path: Path) -> Path:
    """What is there of a path: itself, or the first folder above it that is."""
    return next(each for each in (path, *path.absolute().parents) if os.path.lexists(each))
