"""Files that are either whole or absent: write to a temporary name in the same folder, flush, rename.

A process killed at any moment leaves the old file or the new one, never half of one (a folder that replaces another is
absent between two renames); what it left under a temporary name is removed at the next write to the same path.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from base.errors import MetrolineError


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sweep(path: Path) -> None:
    """Remove temporary siblings of `path` whose process is gone (it was killed: the others clean up themselves)."""
    ours = re.compile(rf"\.{re.escape(path.name)}\.(\d+)\.\w+\.(part|old)")
    for sibling in path.parent.iterdir():
        if (match := ours.fullmatch(sibling.name)) and not _runs(int(match[1])):
            if sibling.is_dir():
                shutil.rmtree(sibling, ignore_errors=True)
            else:
                sibling.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    import psutil  # here, not above: a machine that only runs the GPU benchmarks need not have it

    return psutil.pid_exists(process)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path`; on success it is flushed to disk and renamed to `path`, on error removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.{os.getpid()}.", suffix=".part", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling folder; on success it takes the place of `path`, on error it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.{os.getpid()}.", suffix=".part", dir=path.parent))
    temporary.chmod(0o755)
    try:
        yield temporary
        if path.exists():
            old = temporary.with_suffix(".old")
            path.replace(old)
            temporary.replace(path)
            shutil.rmtree(old)
        else:
            temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, with sorted keys so that equal values give equal bytes."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a UTF-8 JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_object(path: Path, *, hint: str | None = None) -> dict[str, Any]:
    """Read a file that must hold one JSON object. Raises MetrolineError, with `hint`: missing, unreadable, not that."""
    try:
        value = read_json(path)
    except FileNotFoundError:
        raise MetrolineError(f"{path.parent}: {path.name} is missing", hint=hint) from None
    except OSError as error:
        raise MetrolineError(f"{path} cannot be read: {error.strerror}", hint=hint) from None
    except (ValueError, RecursionError) as error:  # nested too deep for the reader
        raise MetrolineError(f"{path} is not valid JSON: {error}", hint=hint) from None
    if not isinstance(value, dict):
        raise MetrolineError(f"{path} is not a JSON object", hint=hint)
    return value
