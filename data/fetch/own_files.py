"""The user's own files: which of a folder count, one SHA-256 for all of them, and a copy when it is the pinned one."""

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from base.errors import MetrolineError
from base.files import sha256 as sha256_of
from data.fetch.compressed import COMPRESSED
from data.fetch.folders import contents
from data.fetch.names import one_line

LINES = (".jsonl", ".ndjson")
"""An object a line; two names of one format."""
SUFFIXES = (".txt", *LINES, ".parquet", *(kind + packed for kind in (".txt", *LINES) for packed in COMPRESSED))
"""What can hold text."""
WEIGHTS = (".gguf", ".safetensors", ".pth", ".json", ".jinja")
"""What can be part of pretrained weights."""


@dataclass(frozen=True)
class OwnFiles:
    """The files that count, and what else there is by its ending or kind."""

    root: Path
    files: list[Path]
    left_out: Counter[str]

    def summary(self) -> str:
        """`40 files, 44 kB; left out: 1 .csv, 2 broken links`."""
        size = sum(file.stat().st_size for file in self.files)
        kilobytes = f"{len(self.files):,} file{'s' * (len(self.files) != 1)}, {size / 1000:,.0f} kB"
        return "; left out: ".join(filter(None, [kilobytes, counted(self.left_out)]))

    def name(self, file: Path) -> PurePosixPath:
        """A file's path below the folder, as it was given."""
        return PurePosixPath(file.relative_to(self.root) if self.root.is_dir() else file.name)


def own_files(path: Path, glob: str, *, name: str, suffixes: tuple[str, ...] = SUFFIXES) -> OwnFiles:
    """`path` itself when it is a file; of a folder the files with one of `suffixes` (`("",)`: any) that match `glob`,
    sorted, without hidden ones. Links count as what they point to, under their own names.
    """
    path = path.expanduser()
    if path.is_file():
        if not has_suffix(path.name, suffixes):
            raise MetrolineError(f"{name}: {path} is none of {', '.join(suffixes)}", hint="convert or rename it")
        return OwnFiles(path, [path], Counter())
    if not path.is_dir():
        raise MetrolineError(
            f"{name}: there is no file or folder {path}", hint="check the path; in a recipe it is source.path"
        )
    try:
        found = contents(path, glob)
    except OSError as error:
        raise _unreadable(error) from None
    files = [file for file in found.files if has_suffix(file.name, suffixes)]
    left_out = endings((file.name for file in found.files), suffixes) + found.others
    if not files:
        there = counted(left_out)
        raise MetrolineError(
            f"{name}: no {', '.join(suffixes) + ' ' if any(suffixes) else ''}file in {path}",
            hint=f"looked for {glob}" + (f"; there: {there}" if there else ""),
        )
    return OwnFiles(path, files, left_out)


def has_suffix(name: str, suffixes: tuple[str, ...]) -> bool:
    """Whether a file of this name counts."""
    return name.lower().endswith(suffixes)


def endings(names: Iterable[str], suffixes: tuple[str, ...]) -> Counter[str]:
    """How many of the names count not, by their ending."""
    return Counter(_ending(name) for name in names if not has_suffix(name, suffixes))


def _ending(name: str) -> str:
    path = PurePosixPath(one_line(name.lower()))
    both = path.suffixes[-2:] if path.suffix in COMPRESSED else [path.suffix]
    return "".join(both) or "(no ending)"


def counted(things: Counter[str]) -> str:
    """`3 .csv, 2 broken links`, the most frequent first."""
    return ", ".join(
        f"{count:,} {thing}{'' if count == 1 or thing.startswith(('.', '(')) else 's'}"
        for thing, count in sorted(things.items(), key=lambda item: (-item[1], item))
    )


def digest(own: OwnFiles) -> str:
    """SHA-256 of a single file; for a folder of what `sha256sum` prints for the files, relative to it.

    So `cd FOLDER && find -L . -type f -printf '%P\\n' | LC_ALL=C sort | xargs sha256sum | sha256sum` gives the same.
    """
    return _digest(own, {file: file for file in own.files})


def _digest(own: OwnFiles, read: dict[Path, Path]) -> str:
    """The digest of the files when each is read from `read[file]`. MetrolineError for one that cannot be read."""
    try:
        if own.root.is_file():
            return sha256_of(read[own.root])
        lines = [f"{sha256_of(read[file])}  ".encode() + os.fsencode(own.name(file)) + b"\n" for file in own.files]
    except OSError as error:
        raise _unreadable(error) from None
    return hashlib.sha256(b"".join(lines)).hexdigest()


def _unreadable(error: OSError) -> MetrolineError:
    return MetrolineError(f"cannot read {error.filename}: {error.strerror}", hint="check that it is there and yours")


def copy_pinned(own: OwnFiles, sha256: str, target: Path, *, name: str) -> None:
    """Copy the files below `target`; MetrolineError with the new digest when the copies' is not `sha256`.

    The copies are what is checked: a file may change while it is copied. Names become valid
    UTF-8 (data/fetch/names.py).
    """
    copies: dict[Path, Path] = {}
    for file in own.files:
        copies[file] = copy = target / one_line(str(own.name(file)))
        if copy.exists():
            raise MetrolineError(f"{name}: two files in {own.root} are called {copy.name}", hint="rename one")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    if (now := _digest(own, copies)) != sha256:
        raise MetrolineError(
            f"{name}: {own.root} ({len(own.files)} files) is not what the recipe pins",
            hint=f"if you changed it on purpose, put sha256: {now} into the recipe's source",
        )
