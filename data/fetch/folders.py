"""What lies below a folder: linked folders are entered too, each real folder once, so that links in a ring end.

Hidden files and folders (a name that begins with a dot) are passed over.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import NoReturn


@dataclass
class Contents:
    """Files below a folder, sorted by path, and how many things are none, by what they are: `broken link`."""

    files: list[Path] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)


def contents(root: Path, glob: str) -> Contents:
    """All files below `root` whose path below it matches `glob`. Raises OSError: a folder that cannot be read."""
    found, seen, pattern = Contents(), set[tuple[int, int]](), PurePosixPath(glob).parts
    starts = [root]
    while starts:  # links wait until all real folders were entered: a folder goes by its own path where it has one
        links: list[Path] = []
        for start in starts:
            for place, folders, names in os.walk(start, onerror=_refuse):
                here = Path(place)
                status = here.stat()
                if (status.st_dev, status.st_ino) in seen:
                    found.others["repeated folder"] += 1
                    folders.clear()
                    continue
                seen.add((status.st_dev, status.st_ino))
                folders[:] = [name for name in folders if not name.startswith(".")]
                links += [here / name for name in folders if (here / name).is_symlink()]
                for name in names:
                    path = here / name
                    if name.startswith(".") or not matches(path.relative_to(root).parts, pattern):
                        continue
                    if path.is_file():
                        found.files.append(path)
                    else:
                        found.others["broken link" if path.is_symlink() and not path.exists() else "special file"] += 1
        starts = sorted(links, key=os.fsencode)
    found.files.sort(key=lambda path: os.fsencode(path.relative_to(root)))
    return found


def matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path's parts match a glob's: `**` stands for any number of folders, also for none.

    >>> matches(("a", "b", "c.txt"), ("**", "*.txt"))
    True
    """
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return matches(parts, pattern[1:]) or (bool(parts) and matches(parts[1:], pattern))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and matches(parts[1:], pattern[1:])


def _refuse(error: OSError) -> NoReturn:
    raise error
