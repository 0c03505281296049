"""The user's own files: which of a folder count, one SHA-256 for all of them, and a copy when it is the pinned one."""

import hashlib
import shutil
from pathlib import Path

from base.errors import MetrolineError
from base.files import sha256 as sha256_of

SUFFIXES = (".txt", ".jsonl", ".parquet")
"""What can hold text."""
WEIGHTS = (".gguf", ".safetensors", ".json", ".jinja")
"""What can be part of pretrained weights."""


def own_files(path: Path, glob: str, *, name: str, suffixes: tuple[str, ...] = SUFFIXES) -> list[Path]:
    """`path` itself when it is a file; of a folder the files with one of `suffixes` that match `glob`, sorted, without
    hidden ones.
    """
    path = path.expanduser()
    if path.is_file():
        if path.suffix.lower() not in suffixes:
            raise MetrolineError(f"{name}: {path} is none of {', '.join(suffixes)}", hint="convert or rename it")
        return [path]
    if not path.is_dir():
        raise MetrolineError(
            f"{name}: there is no file or folder {path}", hint="check the path; in a recipe it is source.path"
        )
    found = [
        file
        for file in path.glob(glob)
        if file.is_file() and file.suffix.lower() in suffixes
        if not any(part.startswith(".") for part in file.relative_to(path).parts)
    ]
    if not found:
        raise MetrolineError(f"{name}: no {', '.join(suffixes)} file in {path}", hint=f"looked for {glob}")
    return sorted(found, key=lambda file: file.relative_to(path).as_posix())


def digest(root: Path, found: list[Path]) -> str:
    """SHA-256 of a single file; for a folder of what `sha256sum` prints for `found`, relative to it.

    So `cd FOLDER && find . -type f -printf '%P\\n' | LC_ALL=C sort | xargs sha256sum | sha256sum` gives the same.
    """
    root = root.expanduser()
    if root.is_file():
        return sha256_of(root)
    lines = "".join(f"{sha256_of(file)}  {file.relative_to(root).as_posix()}\n" for file in found)
    return hashlib.sha256(lines.encode()).hexdigest()


def copy_pinned(
    root: Path, glob: str, sha256: str, target: Path, *, name: str, suffixes: tuple[str, ...] = SUFFIXES
) -> None:
    """Copy the files below `target` when their digest is `sha256`; MetrolineError with the new digest when not."""
    root = root.expanduser()
    found = own_files(root, glob, name=name, suffixes=suffixes)
    if (now := digest(root, found)) != sha256:
        raise MetrolineError(
            f"{name}: {root} ({len(found)} files) is not what the recipe pins",
            hint=f"if you changed it on purpose, put sha256: {now} into the recipe's source",
        )
    for file in found:
        copy = target / (file.relative_to(root) if root.is_dir() else file.name)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
