"""Shards: what goes in comes out, across borders, in little-endian bytes; damage is noticed."""

import hashlib
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.errors import MetrolineError
from base.files import read_json, sha256, write_json
from data.text.shards import Shards, ShardWriter, token_dtype, write_index

ROWS = st.lists(st.lists(st.integers(1, 69_999), max_size=20), min_size=1, max_size=12)


def write(folder: Path, rows: list[list[int]], vocab_size: int = 70_000, shard_tokens: int = 7) -> Path:
    entries = {}
    for split in ("train", "valid"):
        with ShardWriter(folder, split, vocab_size=vocab_size, eos=0, shard_tokens=shard_tokens) as writer:
            for number, row in enumerate(rows):
                writer.add(f"{split}:{number}", np.array(row, dtype=np.uint32), bytes_=len(row), meta={"n": number})
        entries[split] = writer.entry
    write_index(folder, entries, vocab_size=vocab_size, eos=0)
    return folder


@given(ROWS, st.integers(1, 30), st.data())
def test_round_trip(rows, shard_tokens, data):
    with tempfile.TemporaryDirectory() as name:
        shards = Shards(write(Path(name), rows, shard_tokens=shard_tokens), "train")
        flat = [token for row in rows for token in [*row, 0]]
        assert shards.total_tokens == len(flat)
        assert shards.tokens_at(0, len(flat)).tolist() == flat
        assert shards.tokens_at(0, 1).dtype == np.int64
        start = data.draw(st.integers(0, len(flat)))
        length = data.draw(st.integers(0, len(flat) - start))
        assert shards.tokens_at(start, length).tolist() == flat[start : start + length]
        assert len(shards) == len(rows)
        assert [shards.document(number).tolist() for number in range(len(rows))] == [[*row, 0] for row in rows]
        assert all(shard["tokens"] == shard_tokens for shard in shards.entry["shards"][:-1])
        shards.verify()


def test_index_and_files(tmp_path):
    write(tmp_path, [[5, 258], [7]], vocab_size=300, shard_tokens=3)
    assert (tmp_path / "train-00000.bin").read_bytes() == bytes([5, 0, 2, 1, 0, 0])  # little-endian uint16
    assert (tmp_path / "train-00001.bin").read_bytes() == bytes([7, 0, 0, 0])
    hashes = [sha256(tmp_path / f"{split}-0000{number}.bin") for split in ("train", "valid") for number in (0, 1)]
    assert read_json(tmp_path / "index.json") == {
        "dtype": "uint16",
        "vocab_size": 300,
        "eos": 0,
        "data_hash": hashlib.sha256("".join(hashes).encode()).hexdigest(),
        "splits": {
            split: {
                "documents": 2,
                "tokens": 5,
                "bytes": 3,
                "shards": [
                    {"file": f"{split}-00000.bin", "tokens": 3, "sha256": hashes[0]},
                    {"file": f"{split}-00001.bin", "tokens": 2, "sha256": hashes[1]},
                ],
            }
            for split in ("train", "valid")
        },
    }
    assert np.load(tmp_path / "train.offsets.npy").tolist() == [0, 3, 5]
    assert list(Shards(tmp_path, "train").documents()) == [
        {"id": "train:0", "bytes": 2, "tokens": 3, "meta": {"n": 0}},
        {"id": "train:1", "bytes": 1, "tokens": 2, "meta": {"n": 1}},
    ]


@pytest.mark.parametrize(("vocab_size", "name"), [(2, "uint16"), (65_536, "uint16"), (65_537, "uint32")])
def test_width_of_tokens(vocab_size, name):
    assert token_dtype(vocab_size) == np.dtype(name)


def test_largest_ids_survive(tmp_path):
    assert Shards(write(tmp_path, [[65_535]], vocab_size=65_536), "train").document(0).tolist() == [65_535, 0]


def test_empty_split(tmp_path):
    shards = Shards(write(tmp_path, []), "train")
    assert (len(shards), shards.total_tokens, shards.tokens_at(0, 0).tolist()) == (0, 0, [])


@pytest.mark.parametrize(("start", "length"), [(-1, 1), (0, 6), (5, 1), (2, -1)])
def test_outside_of_the_row(tmp_path, start, length):
    shards = Shards(write(tmp_path, [[1, 2], [3]]), "train")
    with pytest.raises(IndexError):
        shards.tokens_at(start, length)


def break_index(folder: Path) -> None:
    (folder / "index.json").write_text("{")


def forget_split(folder: Path) -> None:
    index = read_json(folder / "index.json")
    del index["splits"]["train"]
    write_json(folder / "index.json", index)


def miscount(folder: Path) -> None:
    index = read_json(folder / "index.json")
    index["splits"]["train"]["tokens"] += 1
    write_json(folder / "index.json", index)


DAMAGE = {
    "no index": (lambda folder: (folder / "index.json").unlink(), r"index\.json is missing"),
    "no shard": (lambda folder: (folder / "train-00000.bin").unlink(), r"train-00000\.bin is missing"),
    "no offsets": (lambda folder: (folder / "train.offsets.npy").unlink(), r"train\.offsets\.npy is missing"),
    "short shard": (lambda folder: (folder / "train-00000.bin").write_bytes(b"12"), "has 2 bytes instead of 20"),
    "bad offsets": (lambda folder: (folder / "train.offsets.npy").write_bytes(b"12"), "damaged"),
    "bad index": (break_index, "damaged"),
    "no split": (forget_split, "has no 'train'"),
    "wrong count": (miscount, "do not agree"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_one_line_that_says_what_to_do(tmp_path, case):
    damage, message = DAMAGE[case]
    write(tmp_path, [[1, 2], [3]])
    damage(tmp_path)
    with pytest.raises(MetrolineError, match=f"{message}.*run `metroline stage prepare` again"):
        Shards(tmp_path, "train")


def test_verify_finds_a_changed_byte(tmp_path):
    write(tmp_path, [[1, 2], [3]], vocab_size=300)
    path = tmp_path / "train-00000.bin"
    path.write_bytes(b"\x09" + path.read_bytes()[1:])
    shards = Shards(tmp_path, "train")
    with pytest.raises(MetrolineError, match=r"train-00000\.bin: wrong SHA-256"):
        shards.verify()


def test_documents_file_missing(tmp_path):
    shards = Shards(write(tmp_path, [[1]]), "train")
    (tmp_path / "train.documents.jsonl").unlink()
    with pytest.raises(MetrolineError, match="is missing"):
        next(shards.documents())
