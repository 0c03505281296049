"""Take files out of .zip, .whl and .tar.* archives, safely: plain files only, never outside the target folder.

An archive is refused whole when any of its members has an absolute path or a `..`, wanted or not: one that tries this
is not to be trusted with the rest.
"""

import fnmatch
import gzip
import lzma
import os
import shutil
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


def unpack(archive: Path, pattern: str, target: Path, *, name: str, label: str | None = None) -> list[Path]:
    """Write the members that match `pattern` (fnmatch: * crosses folders) below `target`, less their common folder.

    `name` (the recipe's) and `label` (what to call the archive) are for errors. Returns the files written, sorted.
    """
    label = label or archive.name
    try:
        with _open(archive) as members:
            wanted = [path for path in members.paths if fnmatch.fnmatchcase(path, pattern)]
            for path in members.paths:
                if not _safe(path):
                    raise MetrolineError(
                        f"{name}: {label} holds {path!r}, a path outside of it", hint="do not trust this archive"
                    )
            if not wanted:
                raise MetrolineError(
                    f"{name}: no file in {label} matches {pattern!r}",
                    hint=f"its {len(members.paths)} files begin with {', '.join(members.paths[:3]) or 'nothing'}",
                )
            common = os.path.commonpath([PurePosixPath(path).parent for path in wanted])
            written = []
            for path in sorted(wanted):
                file = target / one_line(str(PurePosixPath(path).relative_to(common)))
                file.parent.mkdir(parents=True, exist_ok=True)
                with members.open(path) as source, file.open("xb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
                written.append(file)
            return written
    except DAMAGE as error:
        raise MetrolineError(f"{name}: cannot unpack {label}: {error}", hint="is it a .zip, .whl or .tar.*?") from None


class _Members:
    """The files of an archive by path."""

    def __init__(self, archive: zipfile.ZipFile | tarfile.TarFile) -> None:
        self.archive = archive
        if isinstance(archive, zipfile.ZipFile):
            self.paths = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
        else:
            self.paths = [entry.name for entry in archive.getmembers() if not entry.isdir()]

    def open(self, path: str) -> IO[bytes]:
        """A stream of one member's bytes; links and devices are refused."""
        if isinstance(self.archive, zipfile.ZipFile):
            return self.archive.open(path)
        member = self.archive.getmember(path)
        stream = self.archive.extractfile(member) if member.isreg() else None
        if stream is None:
            raise tarfile.TarError(f"{path} is not a plain file")
        return stream


@contextmanager
def _open(path: Path) -> Iterator[_Members]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield _Members(archive)
    else:
        with tarfile.open(path) as archive:
            yield _Members(archive)


def _safe(path: str) -> bool:
    parts = PurePosixPath(path.replace("\\", "/")).parts
    return bool(parts) and parts[0] != "/" and ".." not in parts and ":" not in parts[0]
