"""A folder as stage `fetch` leaves it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from base.files import sha256, write_json


def write_raw(raw: Path, files: Mapping[str, bytes]) -> None:
    """`raw`/files with these, and their hashes in `raw`/source.json."""
    entries: dict[str, dict[str, Any]] = {}
    for name, content in files.items():
        path = raw / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        entries[name] = {"bytes": len(content), "sha256": sha256(path)}
    write_json(raw / "source.json", {"kind": "file", "address": "", "files": entries})
