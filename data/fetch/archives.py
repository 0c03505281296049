"""Take files out of .zip, .whl and .tar.* archives, safely: plain files only, never outside the target folder.

An archive is refused whole when any of its members has an absolute path or a `..`, wanted or not: one that tries this
is not to be trusted with the rest.
"""

import fnmatch
import gzip
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from base.errors import MetrolineError
from data.fetch.names import one_line

# What the libraries raise for a file that is no archive, or a damaged or encrypted one.
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, RuntimeError)


LARGEST = 1 << 30
"""Bytes that any archive may hold; larger ones only up to MOST times their own size, or they are bombs."""
MOST = 200


def unpack(archive: Path, pattern: str, target: Path, *, name: str, label: str | None = None) -> list[Path]:
    """Write the members that match `pattern` (fnmatch: * crosses folders) below `target`, less their common folder.

    `name` (the recipe's) and `label` (what to call the archive) are for errors. Returns the files written, sorted.
    """
    written = []
    with matching(archive, pattern, name=name, label=label or archive.name) as members:
        common = os.path.commonpath([PurePosixPath(path).parent for path in members.wanted])
        for path in members.wanted:
            file = target / one_line(str(PurePosixPath(path).relative_to(common)))
            file.parent.mkdir(parents=True, exist_ok=True)
            with members.open(path) as source, file.open("xb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
            written.append(file)
    return sorted(written)


class Members:
    """The files of an archive by path; `wanted`: those that match, in the archive's order, which is fastest to read."""

    def __init__(self, archive: zipfile.ZipFile | tarfile.TarFile, limit: int) -> None:
        self.archive = archive
        self.paths: list[str] = []
        self.wanted: list[str] = []
        self._entries: dict[str, zipfile.ZipInfo | tarfile.TarInfo] = {}
        self.twice: set[str] = set()
        total = 0
        for entry in archive.infolist() if isinstance(archive, zipfile.ZipFile) else archive:
            if entry.is_dir() if isinstance(entry, zipfile.ZipInfo) else entry.isdir():
                continue
            path, size = (
                (entry.filename, entry.file_size) if isinstance(entry, zipfile.ZipInfo) else (entry.name, entry.size)
            )
            total += size
            if total > limit:
                raise tarfile.TarError(f"it holds more than {limit:,} bytes, too many for its own size")
            if path in self._entries:
                self.twice.add(path)
            self._entries[path] = entry
            self.paths.append(path)

    def open(self, path: str) -> IO[bytes]:
        """A stream of one member's bytes; links and devices are refused."""
        entry = self._entries[path]
        if isinstance(self.archive, zipfile.ZipFile) and isinstance(entry, zipfile.ZipInfo):
            if stat.S_ISLNK(entry.external_attr >> 16):
                raise zipfile.BadZipFile(f"{path} is not a plain file")
            return self.archive.open(entry)
        stream = None
        if isinstance(self.archive, tarfile.TarFile) and isinstance(entry, tarfile.TarInfo) and entry.isreg():
            stream = self.archive.extractfile(entry)
        if stream is None:
            raise tarfile.TarError(f"{path} is not a plain file")
        return stream


@contextmanager
def matching(archive: Path, pattern: str, *, name: str, label: str) -> Iterator[Members]:
    """An open archive whose members were looked at. Raises MetrolineError: no archive, damaged, a bomb, a path that
    leads outside, a wanted path that occurs twice, none that matches.
    """
    limit = max(LARGEST, MOST * archive.stat().st_size)
    try:
        with zipfile.ZipFile(archive) if zipfile.is_zipfile(archive) else tarfile.open(archive) as opened:
            members = Members(opened, limit)
            for path in members.paths:
                if not _safe(path):
                    raise MetrolineError(
                        f"{name}: {label} holds {path!r}, a path outside of it", hint="do not trust this archive"
                    )
            members.wanted = [path for path in members.paths if fnmatch.fnmatchcase(path, pattern)]
            if not members.wanted:
                raise MetrolineError(
                    f"{name}: no file in {label} matches {pattern!r}",
                    hint=f"its {len(members.paths)} files begin with {', '.join(members.paths[:3]) or 'nothing'}",
                )
            if twice := sorted(members.twice & set(members.wanted)):
                raise MetrolineError(f"{name}: {label} holds {twice[0]!r} twice", hint="do not trust this archive")
            yield members
    except DAMAGE as error:
        raise MetrolineError(f"{name}: cannot unpack {label}: {error}", hint="is it a .zip, .whl or .tar.*?") from None


def _safe(path: str) -> bool:
    parts = PurePosixPath(path.replace("\\", "/")).parts
    return bool(parts) and parts[0] != "/" and ".." not in parts and ":" not in parts[0]
