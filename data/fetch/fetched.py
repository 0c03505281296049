"""What `fetch` has left in a folder."""

import zipfile
from pathlib import Path

from base.errors import MetrolineError
from base.files import read_json

PACKED = ".members.zip"
"""How the name of a packed archive ends (data/fetch/packed.py)."""


def fetched(raw: Path) -> dict[str, Path]:
    """The files of a fetched folder by name, sorted: the reading order. MetrolineError when nothing is fetched."""
    try:
        names = sorted(read_json(raw / "source.json")["files"])
    except FileNotFoundError:
        raise MetrolineError(f"nothing is fetched in {raw}", hint="run `metroline stage fetch` first") from None
    except (ValueError, KeyError, TypeError) as error:
        raise MetrolineError(f"{raw / 'source.json'}: damaged ({error})", hint="fetch again") from None
    return {name: raw / "files" / name for name in names}


File = Path | zipfile.Path
"""A file, or one inside a packed archive: both have open("rb") and read_bytes()."""


def fetched_members(raw: Path) -> dict[str, File]:
    """The files of a fetched folder by name, those inside packed archives each by its own path;
    sorted. MetrolineError: nothing is fetched, a damaged or missing archive, one path twice.
    """
    found: dict[str, File] = {}
    for name, path in fetched(raw).items():
        inside: dict[str, File] = {name: path}
        if name.endswith(PACKED):
            try:
                packed = zipfile.ZipFile(path)
            except (OSError, zipfile.BadZipFile) as error:
                raise MetrolineError(f"{path} cannot be read: {error}", hint="fetch again") from None
            folder = name.rpartition("/")[0]
            members = packed.namelist()  # now: a zipfile.Path adds folders to it
            root = zipfile.Path(packed)
            inside = {(f"{folder}/{member}" if folder else member): root / member for member in members}
        if both := sorted(found.keys() & inside.keys()):
            raise MetrolineError(f"{raw}: {both[0]} is there twice", hint="give each archive of the source a path:")
        found |= inside
    return dict(sorted(found.items()))
