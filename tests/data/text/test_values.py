"""Every kind of value that JSON lines and Parquet can carry: what a document's meta makes of it, or why it cannot."""

import datetime
import decimal
import json
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from base.errors import MetrolineError
from data.text.documents import Document, DocumentsConfig, Unreadable, raw_files, read
from data.text.values import plain

HALF = "has half a surrogate pair at character"


def entries(raw: Path, **config: object) -> list[Document | Unreadable]:
    return list(read(raw_files(raw), DocumentsConfig.model_validate({"meta_fields": ["m"]} | config)))


def parquet(tmp_path: Path, column: pa.Array, name: str = "m") -> bytes:
    table = pa.table({"text": ["text"] * len(column), name: column})
    pq.write_table(table, tmp_path / "x", version="2.6")
    return (tmp_path / "x").read_bytes()


JSON_VALUES = [
    ("null", None),
    ("true", True),
    ("7", 7),
    (str(10**30), 10**30),
    ("1e400", None),
    ("NaN", None),
    ("-Infinity", None),
    ("1.5", 1.5),
    ('"\\ud83d\\ude00"', "\U0001f600"),
    ('"a\\u0000\\u2028"', "a\0\u2028"),
    ('[1, "a"]', "[1, 'a']"),
    ('{"a": {"b": null}}', "{'a': {'b': None}}"),
    ('["\\ud83d"]', r"['\ud83d']"),
    ('{"\\udc00": 1}', r"{'\udc00': 1}"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), JSON_VALUES)
def test_json_values(fetched, value, expected):
    [entry] = entries(fetched({"a.jsonl": '{"text": "x", "m": ' + value + "}"}))
    assert isinstance(entry, Document)
    assert entry.meta == {"m": expected}
    json.dumps(entry.meta, ensure_ascii=False, allow_nan=False).encode()


BAD_ROWS = [
    ('{"text": "x", "m": "Ann \\ud83d"}', f"'m' {HALF} 4"),
    ('{"text": "x\\udc00", "m": 1}', f"'text' {HALF} 1"),
    ('{"text": "x", "m": ' + "9" * 5000 + "}", "not JSON: Exceeds the limit"),
    ('{"text": null}', "'text' is null"),
    ('{"text": ["x"]}', "'text' is not text but list"),
    ('{"\\ud83d": 1, "two\\nlines": 2}', r"no field 'text', only \ud83d, two\x0alines"),
    ('{"text": "x", "m": 1}\x1a', "not JSON: Extra data"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "problem"), BAD_ROWS)
def test_rows_of_json_that_cannot_be_read(fetched, row, problem):
    raw = fetched({"a.jsonl": '{"text": "good"}\n' + row + "\n"})
    good, bad = entries(raw, errors="drop")
    assert isinstance(good, Document)
    assert isinstance(bad, Unreadable)
    assert bad.problem.startswith(problem)
    bad.problem.encode()
    with pytest.raises(MetrolineError) as caught:
        entries(raw)
    assert str(caught.value).startswith(f"a.jsonl:2: {problem}")
    assert str(caught.value).endswith("or set documents.errors: drop in the recipe)")
    assert len(str(caught.value).splitlines()) == 1


def test_a_value_nested_too_deep():
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ValueError, match="is nested too deep"):
        plain(value)


BERLIN = pa.timestamp("us", "Europe/Berlin")
PARQUET_VALUES = [
    (pa.array([None], pa.int8()), None),
    (pa.array([2**64 - 1], pa.uint64()), 2**64 - 1),
    (pa.array([1.5, float("inf")], pa.float16()), 1.5),
    (pa.array([decimal.Decimal("18.50")], pa.decimal128(10, 2)), "18.50"),
    (pa.array([b"caf\xc3\xa9"]), "café"),
    (pa.array([b"abc"], pa.binary(3)), "abc"),
    (pa.array(["a"]).dictionary_encode(), "a"),
    (pa.array([datetime.date(1862, 1, 2)]), "1862-01-02"),
    (pa.array([datetime.datetime(1862, 1, 2, 3)], pa.timestamp("s")), "1862-01-02 03:00:00"),
    (pa.array([datetime.datetime(2000, 1, 2, 3)], BERLIN), "2000-01-02 04:00:00+01:00"),
    (pa.array([1_000], pa.timestamp("ns")), "1970-01-01 00:00:00.000001"),
    (pa.array([1], pa.timestamp("ns")), "1970-01-01 00:00:00.000000001"),
    (pa.array([1], pa.time64("ns")), "00:00:00.000000001"),
    (pa.array([10**7], pa.int32()).view(pa.date32()), "29349-01-26"),
    (pa.array([datetime.timedelta(hours=1)], pa.duration("s")), "1:00:00"),
    (pa.array([[1, None]]), "[1, None]"),
    (pa.array([{"a": b"\xff"}]), "{'a': b'\\xff'}"),
    (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), "[('k', 1)]"),
    (pa.array([uuid.UUID(int=1).bytes], pa.uuid()), "00000000-0000-0000-0000-000000000001"),
]  # fmt: skip


@pytest.mark.parametrize(("column", "expected"), PARQUET_VALUES, ids=lambda value: str(getattr(value, "type", "")))
def test_parquet_values(fetched, tmp_path, column, expected):
    entry = entries(fetched({"a.parquet": parquet(tmp_path, column)}))[0]
    assert isinstance(entry, Document)
    assert entry.meta == {"m": expected}
    assert type(entry.meta["m"]) is type(expected)


BAD_COLUMNS = {
    "binary": (pa.array([b"\0\xff"]), "'m' is binary and not UTF-8 at byte 1"),
    "bytes in text": (pa.array([b"a\xff"]).cast(pa.string(), safe=False), "'m' has invalid UTF-8 at byte 1"),
    "time out of range": (pa.array([2**62], pa.timestamp("us")), r"'m' is a timestamp\[us\] that cannot be .*range"),
    "time zone": (pa.array([0], pa.timestamp("us", "Mars/Phobos")), r"'m' is a .*Mars/Phobos\] that cannot be turned"),
    "nested nanoseconds": (pa.array([[1]], pa.list_(pa.timestamp("ns"))), r"'m' is a list<.*> that cannot be turned"),
    "duration": (pa.array([1], pa.duration("ns")), r"'m' is a duration\[ns\] that cannot be turned into text"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_COLUMNS)
def test_parquet_values_that_cannot_be_text(fetched, tmp_path, case):
    column, problem = BAD_COLUMNS[case]
    raw = fetched({"a.parquet": parquet(tmp_path, pa.concat_arrays([pa.nulls(1, column.type), column]))})
    with pytest.raises(MetrolineError, match=rf"^a\.parquet:2: {problem}.*, or set documents\.errors: drop"):
        entries(raw)
    good, bad = entries(raw, errors="drop")
    assert isinstance(good, Document)
    assert good.meta == {"m": None}
    assert isinstance(bad, Unreadable)
    assert bad.id == "a.parquet:2"


def test_columns_of_one_name(fetched, tmp_path):
    for name, other in (("text", "m"), ("m", "text")):
        table = pa.Table.from_arrays([pa.array(["a"])] * 3, names=[name, other, name])
        pq.write_table(table, tmp_path / "x")
        with pytest.raises(MetrolineError, match=rf"a\.parquet: 2 columns are called '{name}' \(rename all but one\)"):
            entries(fetched({"a.parquet": (tmp_path / "x").read_bytes()}, name))


def test_the_text_may_be_noted_too(fetched, tmp_path):
    raw = fetched({"a.parquet": parquet(tmp_path, pa.array([1]))})
    [entry] = entries(raw, meta_fields=["text", "m", "text"])
    assert entry == Document("a.parquet:1", "text", {"text": "text", "m": 1})


@pytest.mark.parametrize("bytes_", [b"", b"\xef\xbb\xbf", b"\n\n", b"\xef\xbb\xbf\n"])
def test_files_with_nothing_in_them(fetched, bytes_):
    assert [entry.id for entry in entries(fetched({"a.jsonl": bytes_, "b.ndjson": bytes_, "c.txt": "c"}))] == ["c.txt"]


@pytest.mark.parametrize("encoding", ["UTF-16", "UTF-32"])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_other_encodings_say_how_to_convert(fetched, name, encoding):
    raw = fetched({name: '{"text": "x"}\n'.encode(encoding)})
    with pytest.raises(
        MetrolineError, match=rf"invalid UTF-8 at byte 0 .*it is {encoding}: convert it with iconv -f {encoding}"
    ):
        entries(raw)
