"""Records: examples as Arrow files that are memory-mapped; an example is raw input bytes, a target, and notes.

    with RecordWriter(folder, "train", target="int64") as train:
        train.add("train/3/17.png", {"input": png}, 3, {"group": "writer 5"})
    write_index(folder, [train], labels=[...])
    records = Records(folder, "train")
    records.inputs(0), records.targets      # (png,), int64 [records]

The bytes are what a client would send; the codec of the signature (data/codecs.py) makes arrays of them:

    index.json               data_hash, inputs, target, per split its counts and shards, and the task's own facts
    train-00000.arrow ...    columns id, one binary column an input, target, meta (JSON)
    train.dropped.jsonl      a line an item left out: id, reason, detail

Rows of tokens are data/text/shards.py's.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from base.errors import MetrolineError
from base.files import read_object, sha256, write_json

Target = Literal["int64", "float64", "vector", "text", "bytes"]
"""Of each record: a class or a count; a number; a list of numbers; a text; bytes such as a mask's PNG."""
TYPES: dict[str, pa.DataType] = {"int64": pa.int64(), "float64": pa.float64(), "vector": pa.list_(pa.float64()),
                                 "text": pa.string(), "bytes": pa.binary()}  # fmt: skip
SHARD_BYTES = 128 << 20
NO_META: Mapping[str, Any] = MappingProxyType({})
BATCH_RECORDS, BATCH_BYTES = 4096, 8 << 20
AGAIN = "run `metroline stage prepare` again"


class RecordWriter:
    """Writes one split into an existing folder; a context manager. `entry` is the split's part of index.json."""

    def __init__(
        self,
        folder: Path,
        split: str,
        *,
        target: Target,
        inputs: Sequence[str] = ("input",),
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        self.folder, self.split, self.names, self.shard_bytes = folder, split, tuple(inputs), shard_bytes
        columns = [("id", pa.string()), *((name, pa.binary()) for name in self.names)]
        self.schema = pa.schema([*columns, ("target", TYPES[target]), ("meta", pa.string())])
        self.entry: dict[str, Any] = {"records": 0, "bytes": 0, "dropped": {}, "shards": []}
        self._rows: list[tuple[Any, ...]] = []
        self._bytes = 0  # of the inputs of these rows
        self._shard: pa.RecordBatchFileWriter | None = None
        self._shard_records = self._shard_filled = 0
        self._dropped = (folder / f"{split}.dropped.jsonl").open("w", encoding="utf-8", newline="\n")

    def __enter__(self) -> "RecordWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._write_rows()
        finally:
            self._close_shard()
            self._dropped.close()

    def add(self, identity: str, inputs: Mapping[str, bytes], target: Any, meta: Mapping[str, Any] = NO_META) -> None:
        """Append one record: the raw bytes of each input, its target, and notes (JSON) such as its group."""
        raw = [bytes(inputs[name]) for name in self.names]
        if isinstance(target, np.ndarray | np.generic):
            target = target.tolist()
        notes = json.dumps(dict(meta), ensure_ascii=False, sort_keys=True)
        self._rows.append((identity, *raw, target, notes))
        size = sum(map(len, raw))
        self._bytes += size
        self.entry["records"] += 1
        self.entry["bytes"] += size
        if len(self._rows) == BATCH_RECORDS or self._bytes >= min(BATCH_BYTES, self.shard_bytes):
            self._write_rows()

    def drop(self, identity: str, reason: str, detail: str = "") -> None:
        """Count an item that is left out, and note which: nothing disappears without a line."""
        self.entry["dropped"][reason] = self.entry["dropped"].get(reason, 0) + 1
        line = {"id": identity, "reason": reason} | ({"detail": detail} if detail else {})
        self._dropped.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _write_rows(self) -> None:
        if not self._rows:
            return
        if self._shard is None:
            self._shard = pa.ipc.new_file(self.folder / self._name(), self.schema)
        columns = zip(*self._rows, strict=True)
        arrays = [pa.array(column, type=field.type) for column, field in zip(columns, self.schema, strict=True)]
        self._shard.write_batch(pa.record_batch(arrays, schema=self.schema))
        self._shard_records += len(self._rows)
        self._shard_filled += self._bytes
        self._rows, self._bytes = [], 0
        if self._shard_filled >= self.shard_bytes:
            self._close_shard()

    def _close_shard(self) -> None:
        if self._shard is None:
            return
        self._shard.close()
        path = self.folder / self._name()
        shard = {"file": path.name, "records": self._shard_records, "size": path.stat().st_size, "sha256": sha256(path)}
        self.entry["shards"].append(shard)
        self._shard, self._shard_records, self._shard_filled = None, 0, 0

    def _name(self) -> str:
        return f"{self.split}-{len(self.entry['shards']):05d}.arrow"


def write_index(folder: Path, writers: Sequence[RecordWriter], **facts: Any) -> dict[str, Any]:
    """Write index.json from the closed writers and return it. `facts`: what else makes the data what it is (labels in
    order, columns, rate); `data_hash` covers them and the shards' hashes, by split.
    """
    splits = {writer.split: writer.entry for writer in writers}
    hashes = "".join(shard["sha256"] for split in sorted(splits) for shard in splits[split]["shards"])
    known = json.dumps(facts, sort_keys=True, ensure_ascii=False)
    target = next(name for name, kind in TYPES.items() if kind == writers[0].schema.field("target").type)
    index = {
        **facts,
        "inputs": list(writers[0].names),
        "target": target,
        "data_hash": hashlib.sha256((hashes + known).encode()).hexdigest(),
        "splits": splits,
    }
    write_json(folder / "index.json", index)
    return index


class Records:
    """One split of a prepared folder. Opening maps the files and checks their sizes; `verify` checks their hashes."""

    def __init__(self, prepared: Path, split: str) -> None:
        self.folder, self.split = prepared, split
        self.index = read_object(prepared / "index.json", hint=AGAIN)
        try:
            self.entry = self.index["splits"][split]
            self.names, self.data_hash = tuple(self.index["inputs"]), str(self.index["data_hash"])
            self._batches = [batch for shard in self.entry["shards"] for batch in self._map(shard)]
            self._borders = np.cumsum([0] + [batch.num_rows for batch in self._batches])
            records = int(self.entry["records"])
        except FileNotFoundError as error:
            raise MetrolineError(f"{error.filename} is missing", hint=AGAIN) from None
        except KeyError as error:
            raise MetrolineError(f"{prepared / 'index.json'} has no {error}", hint=AGAIN) from None
        except (ValueError, TypeError, OSError, pa.ArrowException) as error:
            raise MetrolineError(f"{prepared}: damaged ({' '.join(str(error).split())})", hint=AGAIN) from None
        if self._borders[-1] != records:
            raise MetrolineError(f"{prepared}: shards and index of {split} do not agree", hint=AGAIN)

    def _map(self, shard: Mapping[str, Any]) -> Iterator[pa.RecordBatch]:
        path, expected = self.folder / shard["file"], shard["size"]
        if path.stat().st_size != expected:
            raise MetrolineError(f"{path} has {path.stat().st_size:,} bytes instead of {expected:,}", hint=AGAIN)
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)

    def __len__(self) -> int:
        return int(self._borders[-1])

    def _at(self, number: int, column: str) -> Any:
        if not 0 <= number < len(self):
            raise IndexError(f"record {number} of {len(self)}")
        batch = int(np.searchsorted(self._borders, number, side="right")) - 1
        return self._batches[batch].column(column)[number - int(self._borders[batch])].as_py()

    def inputs(self, number: int) -> tuple[bytes, ...]:
        """Raw bytes of a record's inputs, in the order of `names`. IndexError outside the split."""
        return tuple(self._at(number, name) for name in self.names)

    def id(self, number: int) -> str:
        """Where a record came from, such as `train/3/17.png` or `rows.csv:12`."""
        return str(self._at(number, "id"))

    def meta(self, number: int) -> dict[str, Any]:
        """What is noted about a record."""
        return dict(json.loads(self._at(number, "meta")))

    @cached_property
    def targets(self) -> npt.NDArray[Any]:
        """Of all records: int64 or float64 [records]; vectors of one length float64 [records, n]; else an array of
        objects [records]: texts, bytes, or vectors float64 of their own lengths.
        """
        kind = self.index["target"]
        if kind in ("int64", "float64"):
            parts = [batch.column("target").to_numpy(zero_copy_only=False) for batch in self._batches]
            return np.concatenate(parts).astype(kind) if parts else np.zeros(0, kind)
        values: list[Any] = [value for batch in self._batches for value in batch.column("target").to_pylist()]
        if kind == "vector":
            values = [np.asarray(value, np.float64) for value in values]
            if len({len(value) for value in values}) == 1:
                return np.stack(values)
        found = np.empty(len(values), object)
        found[:] = values
        return found

    def verify(self) -> None:
        """Compare every shard with its SHA-256 in the index; raises MetrolineError naming the first that differs."""
        for shard in self.entry["shards"]:
            if sha256(self.folder / shard["file"]) != shard["sha256"]:
                raise MetrolineError(f"{self.folder / shard['file']}: wrong SHA-256", hint=AGAIN)
