"""Records: what was written comes back, byte for byte; the same bytes every time; damage is named."""

import json
from pathlib import Path

import numpy as np
import pytest

from base.errors import MetrolineError
from data.records import Records, RecordWriter, write_index


def write(folder: Path, records, target="int64", inputs=("input",), labels=("a", "b"), **options) -> dict:
    folder.mkdir(exist_ok=True)
    with RecordWriter(folder, "train", target=target, inputs=inputs, **options) as writer:
        for number, (raw, value) in enumerate(records):
            writer.add(f"file:{number}", raw, value, {"group": number % 3})
    return write_index(folder, [writer], labels=list(labels))


THREE = [({"input": b"one"}, 1), ({"input": b""}, 0), ({"input": b"\0\xff"}, 1)]


def test_comes_back(tmp_path):
    index = write(tmp_path, THREE)
    records = Records(tmp_path, "train")
    assert len(records) == 3
    assert [records.inputs(number) for number in range(3)] == [(b"one",), (b"",), (b"\0\xff",)]
    assert records.targets.dtype == np.int64
    assert records.targets.tolist() == [1, 0, 1]
    assert records.id(2) == "file:2"
    assert records.meta(2) == {"group": 2}
    assert records.data_hash == index["data_hash"]
    assert index["splits"]["train"]["records"] == 3
    assert index["splits"]["train"]["bytes"] == 5
    assert records.index["labels"] == ["a", "b"]
    for outside in (-1, 3):
        with pytest.raises(IndexError):
            records.inputs(outside)
    records.verify()


def test_many_shards_hold_the_same(tmp_path):
    records = [({"input": bytes([number]) * number}, number) for number in range(100)]
    index = write(tmp_path, records, shard_bytes=500)
    assert len(index["splits"]["train"]["shards"]) > 5
    found = Records(tmp_path, "train")
    assert [found.inputs(number)[0] for number in range(100)] == [raw["input"] for raw, _ in records]
    assert found.targets.tolist() == list(range(100))


@pytest.mark.parametrize(
    ("target", "values", "expected"),
    [
        ("float64", [1.5, float("nan"), -2.0], np.array([1.5, np.nan, -2.0])),
        ("vector", [[1, 2], np.array([3.0, 4.0]), [5, 6]], np.array([[1.0, 2], [3, 4], [5, 6]])),
        ("text", ["a", "", "ü"], np.array(["a", "", "ü"], object)),
        ("bytes", [b"a", b"", b"\0"], np.array([b"a", b"", b"\0"], object)),
    ],
)
def test_kinds_of_target(tmp_path, target, values, expected):
    write(tmp_path, [({"input": b"x"}, value) for value in values], target=target)
    found = Records(tmp_path, "train").targets
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def test_vectors_of_several_lengths(tmp_path):
    write(tmp_path, [({"input": b"x"}, [1.0]), ({"input": b"x"}, [])], target="vector")
    assert [value.tolist() for value in Records(tmp_path, "train").targets] == [[1.0], []]


def test_several_inputs(tmp_path):
    write(tmp_path, [({"b": b"2", "a": b"1"}, 0)], inputs=("a", "b"))
    assert Records(tmp_path, "train").inputs(0) == (b"1", b"2")


def test_nothing_at_all(tmp_path):
    write(tmp_path, [])
    records = Records(tmp_path, "train")
    assert len(records) == 0
    assert records.targets.shape == (0,)


def test_same_records_same_bytes(tmp_path):
    for name in ("one", "two"):
        write(tmp_path / name, THREE)
    one, two = (
        sorted((path.name, path.read_bytes()) for path in (tmp_path / name).iterdir()) for name in ("one", "two")
    )
    assert one == two


@pytest.mark.parametrize(
    "other", [{"records": THREE[:2]}, {"records": [*THREE[:2], ({"input": b"\0\xfe"}, 1)]}, {"labels": ("b", "a")},
              {"records": [*THREE[:2], ({"input": b"\0\xff"}, 0)]}]
)  # fmt: skip
def test_the_hash_knows_bytes_targets_and_facts(tmp_path, other):
    first = write(tmp_path / "one", THREE)["data_hash"]
    assert write(tmp_path / "two", **{"records": THREE, **other})["data_hash"] != first


def test_what_is_dropped_is_counted_and_named(tmp_path):
    with RecordWriter(tmp_path, "test", target="int64") as writer:
        writer.drop("a.png", "truncated", "at byte 7")
        writer.drop("b.png", "truncated")
    assert writer.entry["dropped"] == {"truncated": 2}
    lines = [json.loads(line) for line in (tmp_path / "test.dropped.jsonl").read_text().splitlines()]
    assert lines == [
        {"id": "a.png", "reason": "truncated", "detail": "at byte 7"},
        {"id": "b.png", "reason": "truncated"},
    ]


def test_damage_is_named(tmp_path):
    write(tmp_path, THREE)
    shard = tmp_path / "train-00000.arrow"
    good = shard.read_bytes()
    position = good.index(b"one")
    shard.write_bytes(good[:position] + b"two" + good[position + 3 :])
    with pytest.raises(MetrolineError, match=r"train-00000.arrow: wrong SHA-256"):
        Records(tmp_path, "train").verify()
    shard.write_bytes(good[:-1])
    with pytest.raises(MetrolineError, match=r"train-00000.arrow has .* bytes instead of"):
        Records(tmp_path, "train")
    shard.write_bytes(bytes(len(good)))
    with pytest.raises(MetrolineError, match="damaged"):
        Records(tmp_path, "train")
    shard.unlink()
    with pytest.raises(MetrolineError, match=r"train-00000.arrow is missing"):
        Records(tmp_path, "train")
    with pytest.raises(MetrolineError, match="has no 'valid'"):
        Records(tmp_path, "valid")
    (tmp_path / "index.json").unlink()
    with pytest.raises(MetrolineError, match=r"index.json is missing"):
        Records(tmp_path, "train")
