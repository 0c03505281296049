"""What `fetch` has left in a folder."""

import zipfile
from pathlib import Path

from base.errors import MetrolineError
from base.files import read_json, sha256
from data.fetch.own_files import has_suffix

AGAIN = "fetch again"
PACKED = ".members.zip"
"""How the name of a packed archive ends (data/fetch/packed.py)."""


def fetched(raw: Path, suffixes: tuple[str, ...] = ("",)) -> dict[str, Path]:
    """The files of a fetched folder whose names end so, by name, sorted: the reading order. Raises MetrolineError when
    there are none, or when one is not what was fetched.
    """
    try:
        hashes = {name: entry["sha256"] for name, entry in read_json(raw / "source.json")["files"].items()}
    except FileNotFoundError:
        raise MetrolineError(f"nothing is fetched in {raw}", hint="run `metroline stage fetch` first") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MetrolineError(f"{raw / 'source.json'}: damaged ({error})", hint=AGAIN) from None
    found = {name: raw / "files" / name for name in sorted(hashes) if has_suffix(name, suffixes)}
    if not found:
        kinds = f"{', '.join(suffixes)} file" if any(suffixes) else "file"
        raise MetrolineError(f"no {kinds} among the {len(hashes)} fetched in {raw}")
    for name, path in found.items():
        if not path.is_file():
            raise MetrolineError(f"{path} is missing", hint=AGAIN)
        if sha256(path) != hashes[name]:
            raise MetrolineError(f"{path} has changed since it was fetched", hint=AGAIN)
    return found


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
                raise MetrolineError(f"{path} cannot be read: {error}", hint=AGAIN) from None
            folder = name.rpartition("/")[0]
            members = packed.namelist()  # now: a zipfile.Path adds folders to it
            root = zipfile.Path(packed)
            inside = {(f"{folder}/{member}" if folder else member): root / member for member in members}
        if both := sorted(found.keys() & inside.keys()):
            raise MetrolineError(f"{raw}: {both[0]} is there twice", hint="give each archive of the source a path:")
        found |= inside
    return dict(sorted(found.items()))
