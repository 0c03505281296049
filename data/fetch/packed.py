"""The members of an archive in one file, whatever the host's archive looks like today.

Hosts pack archives anew, with other bytes around the same files, so the files are pinned and not the archive: by the
SHA-256 of the lines that `sha256sum` prints for them. They are kept as one stored .zip that is always the same, because
tens of thousands of files are slow to track.
"""

import hashlib
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from base.errors import MetrolineError
from data.fetch.archives import matching

EPOCH = (1980, 1, 1, 0, 0, 0)
PIECE = 1 << 20


def pack(archive: Path, pattern: str, target: Path, sha256: str, *, name: str, label: str) -> None:
    """Write the members of `archive` that match to the .zip `target`, by their paths below the one top folder, sorted.

    Raises MetrolineError as `matching` does, and when the members' list has another SHA-256 than `sha256`.
    """
    found: list[tuple[bytes, str, int, int, str]] = []  # path's bytes, path, place and length in the spool, SHA-256
    with tempfile.TemporaryFile(dir=target.parent) as spool:
        with matching(archive, pattern, name=name, label=label) as members:
            below = _one_top(members.wanted)
            for member in members.wanted:
                path = str(PurePosixPath(*PurePosixPath(member).parts[below:]))
                start, digest = spool.tell(), hashlib.sha256()
                with members.open(member) as source:
                    while piece := source.read(PIECE):
                        digest.update(piece)
                        spool.write(piece)
                raw = path.encode(errors="surrogateescape")
                found.append((raw, path, start, spool.tell() - start, digest.hexdigest()))
        found.sort()
        listed = hashlib.sha256(
            b"".join(digest.encode() + b"  " + raw + b"\n" for raw, *_, digest in found)
        ).hexdigest()
        if listed != sha256:
            raise MetrolineError(
                f"{name}: the {len(found):,} members of {label} that match {pattern!r} have the list SHA-256 {listed}, "
                f"the recipe pins {sha256}",
                hint="members are missing, too many or changed; if on purpose, look at them and pin the new one",
            )
        with zipfile.ZipFile(target, "w") as packed:
            for _, path, start, length, _ in found:
                info = zipfile.ZipInfo(path, EPOCH)
                info.create_system, info.external_attr, info.file_size = 3, 0o644 << 16, length
                spool.seek(start)
                with packed.open(info, "w", force_zip64=length >= 1 << 31) as sink:
                    rest = length
                    while rest:
                        piece = spool.read(min(PIECE, rest))
                        sink.write(piece)
                        rest -= len(piece)


def _one_top(paths: list[str]) -> int:
    """1 when all paths lie in one folder at the top, which does not count; else 0."""
    tops = {PurePosixPath(path).parts[0] for path in paths}
    return int(len(tops) == 1 and all(len(PurePosixPath(path).parts) > 1 for path in paths))
