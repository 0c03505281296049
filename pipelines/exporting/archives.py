"""PyTorch's zip archives (.ts, .pt2) without what differs between machines: source paths, stack traces, times, ids.

Rewritten so that the same weights and the same PyTorch give the same bytes wherever the project lies. Tensors stay
uncompressed and aligned to 64 bytes, as PyTorch writes them, so that they can be memory-mapped.
"""

import json
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

from base.files import atomic_path

ALIGNMENT = 64
EPOCH = (1980, 1, 1, 0, 0, 0)


def write(archive: BytesIO, path: Path) -> None:
    """Write an archive that PyTorch made to `path` (atomically).

    It was made in memory because PyTorch's own writer aborts the process when the disk is full.
    """
    with (
        atomic_path(path) as temporary,
        zipfile.ZipFile(archive) as source,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as target,
    ):
        for name in source.namelist():
            if name.endswith((".debug_pkl", "/.data/serialization_id")):
                continue
            data = source.read(name)
            if name.endswith("/models/model.json"):
                data = json.dumps(without_traces(json.loads(data)), separators=(",", ":")).encode()
            entry = zipfile.ZipInfo(name, EPOCH)
            header = target.fp.tell() + 30 + len(name.encode()) + 4  # type: ignore[union-attr] # open for writing
            padding = -header % ALIGNMENT
            entry.extra = b"FB" + padding.to_bytes(2, "little") + bytes(padding)
            target.writestr(entry, data)


def without_traces(value: Any) -> Any:
    """A .pt2's graph without the stack trace of each node."""
    if isinstance(value, dict):
        return {key: without_traces(inner) for key, inner in value.items() if key != "stack_trace"}
    return [without_traces(inner) for inner in value] if isinstance(value, list) else value
