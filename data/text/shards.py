"""Token shards: a corpus as little-endian token files that are memory-mapped, never read whole.

A split is one long row of tokens, every document followed by the end-of-text token (one with a mask has an end of its
own), cut into files of equal size:

    index.json             dtype, vocab_size, eos, data_hash, and per split its counts and shards with their SHA-256;
                           `first`, where the tokenizer has its own tokens before every document
    train-00000.bin ...    tokens, uint16 (uint32 for more than 65,536 tokens)
    train-00000.mask.bin   where only some tokens are learnt: uint8, 1 for those that are, beside each file of tokens
    train.offsets.npy      int64 [documents + 1]: where each document begins in the row; the last is the row's length
    train.documents.jsonl  a line a document: id, bytes (UTF-8, without end of text), tokens (with it), meta

Making tokens out of text is data/text/tokenizer.py's.
"""

import hashlib
import json
from array import array
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from base.errors import MetrolineError
from base.files import read_json, sha256, write_json

SHARD_TOKENS = 1 << 26  # 128 MiB of uint16
AGAIN = "run `metroline stage prepare` again"


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """The smallest little-endian type that holds every id below `vocab_size`."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


class ShardWriter:
    """Writes one split into an existing folder; a context manager. `entry` is the split's part of index.json."""

    def __init__(
        self,
        folder: Path,
        split: str,
        *,
        vocab_size: int,
        eos: int,
        shard_tokens: int = SHARD_TOKENS,
        masked: bool = False,
    ) -> None:
        self.folder, self.split, self.eos, self.shard_tokens = folder, split, eos, shard_tokens
        self.masked = masked
        self.dtype = token_dtype(vocab_size)
        self.entry: dict[str, Any] = {"documents": 0, "tokens": 0, "bytes": 0, "shards": []}
        if masked:
            self.entry["targets"] = 0
        self._offsets = array("q", [0])
        self._files: list[_Hashed] = []
        self._filled = 0
        self._documents = (folder / f"{split}.documents.jsonl").open("w", encoding="utf-8", newline="\n")

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_shard()
        self._documents.close()
        np.save(self.folder / f"{self.split}.offsets.npy", np.asarray(self._offsets, dtype="<i8"))

    def add(self, identity: str, tokens: npt.NDArray[Any], *, bytes_: int, meta: dict[str, Any]) -> None:
        """Append one document: its `tokens` [n], first ones included, not end of text; and its text's UTF-8 length."""
        self._add(identity, np.append(tokens, self.eos), None, bytes_, meta)

    def add_masked(
        self, identity: str, tokens: npt.NDArray[Any], mask: npt.NDArray[Any], *, bytes_: int, meta: dict[str, Any]
    ) -> None:
        """Append one document of a masked split: `tokens` [n] with its end, and which of them are learnt, [n] of 0
        and 1. The first cannot be, the last, which ends it, must be: ValueError."""
        if len(tokens) != len(mask) or len(tokens) < 2 or mask[0] or not mask[-1]:
            raise ValueError(f"{identity}: its last token must be learnt, its first cannot be")
        self.entry["targets"] += int(np.count_nonzero(mask))
        self._add(identity, tokens, mask.astype(np.uint8), bytes_, meta)

    def _add(
        self,
        identity: str,
        tokens: npt.NDArray[Any],
        mask: npt.NDArray[np.uint8] | None,
        bytes_: int,
        meta: dict[str, Any],
    ) -> None:
        if (mask is None) == self.masked:
            raise ValueError(f"{self.split}: documents with a mask and without in one split")
        row = tokens.astype(self.dtype)
        line = {"id": identity, "bytes": bytes_, "tokens": len(row), "meta": meta}
        self._documents.write(json.dumps(line, ensure_ascii=False) + "\n")
        self.entry["documents"] += 1
        self.entry["tokens"] += len(row)
        self.entry["bytes"] += bytes_
        self._offsets.append(self.entry["tokens"])
        while len(row):
            room = self.shard_tokens - self._filled
            self._write(row[:room], None if mask is None else mask[:room])
            row, mask = row[room:], None if mask is None else mask[room:]

    def _write(self, tokens: npt.NDArray[Any], mask: npt.NDArray[np.uint8] | None) -> None:
        if not self._files:
            name = f"{self.split}-{len(self.entry['shards']):05d}"
            endings = (".bin", ".mask.bin") if self.masked else (".bin",)
            self._files = [_Hashed(self.folder / (name + ending)) for ending in endings]
        for file, values in zip(self._files, (tokens, mask), strict=False):
            file.write(values)
        self._filled += len(tokens)
        if self._filled == self.shard_tokens:
            self._close_shard()

    def _close_shard(self) -> None:
        if not self._files:
            return
        tokens, *mask = [file.close() for file in self._files]
        entry = {"file": tokens["file"], "tokens": self._filled, "sha256": tokens["sha256"]}
        self.entry["shards"].append(entry | ({"mask": mask[0]} if mask else {}))
        self._files, self._filled = [], 0


class _Hashed:
    """A file that is hashed while it is written."""

    def __init__(self, path: Path) -> None:
        self._path, self._file, self._digest = path, path.open("wb"), hashlib.sha256()

    def write(self, values: npt.NDArray[Any] | None) -> None:
        """Append an array's bytes."""
        data = b"" if values is None else values.tobytes()
        self._file.write(data)
        self._digest.update(data)

    def close(self) -> dict[str, str]:
        """Its name and SHA-256."""
        self._file.close()
        return {"file": self._path.name, "sha256": self._digest.hexdigest()}


def write_index(
    folder: Path, splits: dict[str, dict[str, Any]], *, vocab_size: int, eos: int, first: tuple[int, ...] = ()
) -> dict[str, Any]:
    """Write index.json from the writers' entries and return it. `data_hash`: over the shards' hashes, by split.

    `first`: the tokens with which every document begins, before its text.
    """
    shards = [shard for split in sorted(splits) for shard in splits[split]["shards"]]
    hashes = "".join(shard["sha256"] + shard.get("mask", {}).get("sha256", "") for shard in shards)
    index = {
        "dtype": str(np.dtype(token_dtype(vocab_size).type)),
        "vocab_size": vocab_size,
        "eos": eos,
        **({"first": list(first)} if first else {}),
        "data_hash": hashlib.sha256(hashes.encode()).hexdigest(),
        "splits": splits,
    }
    write_json(folder / "index.json", index)
    return index


class Shards:
    """One split of a prepared folder. Opening maps the files and checks their sizes; `verify` checks their hashes."""

    def __init__(self, prepared: Path, split: str) -> None:
        self.folder, self.split = prepared, split
        try:
            index = read_json(prepared / "index.json")
            self.entry = index["splits"][split]
            self.vocab_size, self.eos, self.data_hash = (
                int(index["vocab_size"]),
                int(index["eos"]),
                str(index["data_hash"]),
            )
            self.first = tuple(map(int, index.get("first", ())))
            self.dtype = np.dtype(index["dtype"]).newbyteorder("<")
            self.offsets: npt.NDArray[np.int64] = np.load(prepared / f"{split}.offsets.npy", mmap_mode="r")
            shards = self.entry["shards"]
            self._maps = [self._map(shard["file"], shard["tokens"], self.dtype) for shard in shards]
            masks = [shard["mask"]["file"] for shard in shards if "mask" in shard]
            self._masks = [
                self._map(name, len(tokens), np.dtype(np.uint8))
                for name, tokens in zip(masks, self._maps, strict=bool(masks))
            ]
        except FileNotFoundError as error:
            raise MetrolineError(f"{error.filename} is missing", hint=AGAIN) from None
        except KeyError as error:
            raise MetrolineError(f"{prepared / 'index.json'} has no {error}", hint=AGAIN) from None
        except (ValueError, TypeError, EOFError) as error:
            raise MetrolineError(f"{prepared}: damaged ({error})", hint=AGAIN) from None
        self._borders = np.cumsum([0] + [len(tokens) for tokens in self._maps])
        self.total_tokens, self.bytes = int(self.entry["tokens"]), int(self.entry["bytes"])
        if self._borders[-1] != self.total_tokens or self.offsets[-1] != self.total_tokens:
            raise MetrolineError(f"{prepared}: shards, offsets and index of {split} do not agree", hint=AGAIN)

    def _map(self, name: str, tokens: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        path, expected = self.folder / name, tokens * dtype.itemsize
        if path.stat().st_size != expected:
            raise MetrolineError(f"{path} has {path.stat().st_size:,} bytes instead of {expected:,}", hint=AGAIN)
        return np.memmap(path, dtype=dtype, mode="r")

    @property
    def given(self) -> npt.NDArray[np.int64]:
        """Where in the row the first tokens of documents are: they come with every text, and no model predicts them."""
        return (np.asarray(self.offsets[:-1])[:, None] + np.arange(len(self.first))).reshape(-1)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def tokens_at(self, start: int, length: int) -> npt.NDArray[np.int64]:
        """Tokens [length] from `start` in the split's row, across shard borders. IndexError outside the row."""
        return self._stretch(self._maps, start, length).astype(np.int64)

    def mask_at(self, start: int, length: int) -> npt.NDArray[np.bool_]:
        """Which of these tokens are learnt, [length]: all of them where the split has no mask."""
        masked = bool(self._masks)
        return self._stretch(self._masks, start, length).astype(bool) if masked else np.ones(length, dtype=bool)

    def _stretch(self, maps: list[npt.NDArray[Any]], start: int, length: int) -> npt.NDArray[Any]:
        stop = start + length
        if start < 0 or length < 0 or stop > self.total_tokens:
            raise IndexError(f"tokens {start} to {stop} of a row of {self.total_tokens}")
        first = int(np.searchsorted(self._borders, start, side="right")) - 1
        parts = []
        for number in range(first, len(maps)):
            begin, end = int(self._borders[number]), int(self._borders[number + 1])
            if begin >= stop:
                break
            parts.append(maps[number][max(start - begin, 0) : min(stop, end) - begin])
        return np.concatenate(parts) if parts else np.zeros(0, self.dtype)

    def document(self, number: int) -> npt.NDArray[np.int64]:
        """Tokens of one document with its end of text."""
        begin, end = int(self.offsets[number]), int(self.offsets[number + 1])
        return self.tokens_at(begin, end - begin)

    def documents(self) -> Iterator[dict[str, Any]]:
        """What is noted about each document, in order: id, bytes, tokens, meta."""
        path = self.folder / f"{self.split}.documents.jsonl"
        if not path.is_file():
            raise MetrolineError(f"{path} is missing", hint=AGAIN)
        with path.open(encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)

    def verify(self) -> None:
        """Compare every shard with its SHA-256 in the index; raises MetrolineError naming the first that differs."""
        for shard in self.entry["shards"]:
            for file in (shard, *([shard["mask"]] if "mask" in shard else [])):
                if sha256(self.folder / file["file"]) != file["sha256"]:
                    raise MetrolineError(f"{self.folder / file['file']}: wrong SHA-256", hint=AGAIN)
