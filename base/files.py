"""Files that are either whole or absent: write to a temporary name in the same folder, flush, rename.

A process killed at any moment leaves the old file or the new one, never half of one (a folder that replaces another is
absent between two renames); what it left under a temporary name is removed at the next write to the same path.
A disk that is full is one line with the file's name, whichever library wrote.
"""

import errno
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

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FULL_WORDS = re.compile(
    rf"{'|'.join(map(os.strerror, FULL))}|os error (?:{'|'.join(map(str, FULL))})\b|\d+ requested and \d+ written"
)
"""How libraries say it that raise no OSError with a number: safetensors, and NumPy last."""


class DiskFull(MetrolineError):
    """There is no room for a file: disk, quota or limit of the process."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"cannot write {path}: {reason}", hint="make room and run the same command again")
        self.path, self.reason = path, reason


@contextmanager
def writing(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """While `path` is written (until it is whole, at `temporary`): raise DiskFull for whatever says so."""
    try:
        yield
    except DiskFull as error:
        if temporary is None or not error.path.is_relative_to(temporary):
            raise
        raise DiskFull(path / error.path.relative_to(temporary), error.reason) from error
    except MetrolineError:
        raise
    except Exception as error:
        if (reason := _no_room(error)) is None:
            raise
        raise DiskFull(path, reason) from error


def _no_room(error: BaseException | None) -> str | None:
    """Why there is no room, when that is what an error or what it came from says."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return os.strerror(error.errno)
        if found := FULL_WORDS.search(str(error)):
            return found[0] if found[0] in map(os.strerror, FULL) else os.strerror(errno.ENOSPC)
        error = error.__cause__ or error.__context__
    return None


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
    with writing(path):
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
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.{os.getpid()}.", suffix=".part", dir=path.parent))
        temporary.chmod(0o755)
    try:
        with writing(path, temporary):
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
