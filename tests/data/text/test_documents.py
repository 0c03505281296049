"""Documents from the three formats: what is read, what is noted, and the place of everything that cannot be read."""

import json
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import data.text.readers
from base.errors import MetrolineError
from data.text.documents import Document, DocumentsConfig, Unreadable, raw_files, read
from data.text.readers import read_text


def documents(raw: Path, **config: object) -> list[Document | Unreadable]:
    return list(read(raw_files(raw), DocumentsConfig.model_validate(config)))


def texts(raw: Path, **config: object) -> list[str]:
    return [entry.text for entry in documents(raw, **config) if isinstance(entry, Document)]


def named(raw: Path, **config: object) -> dict[str, str]:
    return {entry.id: entry.text for entry in documents(raw, **config) if isinstance(entry, Document)}


def parquet(path: Path, **columns: object) -> bytes:
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path.read_bytes()


def test_a_text_file_is_a_document_in_the_order_of_paths(fetched):
    raw = fetched({"b.txt": "two", "a/z.txt": "one", "B.txt": "zero"})
    assert [(entry.id, entry.text) for entry in documents(raw)] == [
        ("B.txt", "zero"),
        ("a/z.txt", "one"),
        ("b.txt", "two"),
    ]


def test_separator(fetched):
    raw = fetched({"a.txt": "emma\nolivia\n\n  \nava\n"})
    assert [entry.id for entry in documents(raw, separator="\n")] == ["a.txt:1", "a.txt:2", "a.txt:3"]
    assert texts(raw, separator="\n") == ["emma", "olivia", "ava"]


def test_newline_in_a_separator_also_means_crlf(fetched):
    assert texts(fetched({"a.txt": b"a\r\nb\r\n\r\nc"}), separator="\n\n") == ["a\r\nb", "c"]


def test_byte_order_mark_is_not_text(fetched):
    assert texts(fetched({"a.txt": b"\xef\xbb\xbfa|\xef\xbb\xbfb"}), separator="|") == ["a", "\ufeffb"]


@given(st.text(), st.text("ab\n", min_size=1, max_size=3), st.integers(1, 7))
def test_cutting_a_stream_is_cutting_a_string(text, separator, chunk):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(data.text.readers, "CHUNK", chunk)
        path = Path(folder) / "a.txt"
        text = text.replace("\r", "").removeprefix("\ufeff")
        path.write_bytes(text.encode())
        expected = [piece for piece in text.split(separator) if piece.encode().strip()]
        assert [piece.text for piece in read_text(path, separator)] == expected


def test_jsonl(fetched):
    rows = [{"text": "one", "year": 1862}, {"text": "two", "year": None, "more": [1]}, {"text": "three"}]
    raw = fetched({"a.jsonl": "\n".join(json.dumps(row) for row in rows) + "\n\n"})
    read_back = documents(raw, meta_fields=["year", "more"])
    assert [(entry.id, entry.text) for entry in read_back] == [
        ("a.jsonl:1", "one"),
        ("a.jsonl:2", "two"),
        ("a.jsonl:3", "three"),
    ]
    assert [entry.meta for entry in read_back] == [{"year": 1862}, {"year": None, "more": "[1]"}, {}]


def test_parquet(fetched, tmp_path):
    body = parquet(tmp_path / "x", body=["one", "two", "three"], score=[1.5, float("nan"), None])
    raw = fetched({"a.parquet": body})
    read_back = documents(raw, text_field="body", meta_fields=["score"])
    assert named(raw, text_field="body") == {"a.parquet:1": "one", "a.parquet:2": "two", "a.parquet:3": "three"}
    assert [entry.meta["score"] for entry in read_back] == [1.5, None, None]


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_parquet_kinds_of_text(fetched, tmp_path, kind):
    pq.write_table(pa.table({"text": pa.array(["one", "two"]).cast(kind)}), tmp_path / "x")
    assert texts(fetched({"a.parquet": (tmp_path / "x").read_bytes()})) == ["one", "two"]


def test_meta_from_the_name_and_bins(fetched):
    raw = fetched({"1862-Lincoln-1.txt": "x", "1799-Adams-1.txt": "y", "other.txt": "z"})
    config = {
        "meta_pattern": r"(?P<year>\d{4})-(?P<president>\w+)-",
        "bins": {"decade": {"of": "year", "width": 10}},
    }
    assert [entry.meta for entry in documents(raw, **config)] == [
        {"year": 1799, "president": "Adams", "decade": 1790},
        {"year": 1862, "president": "Lincoln", "decade": 1860},
        {},
    ]


def test_a_rows_own_field_wins_over_the_name(fetched):
    raw = fetched({"1862.jsonl": '{"text": "x", "year": 1999}\n{"text": "y"}'})
    config = {"meta_pattern": r"(?P<year>\d+)", "meta_fields": ["year"]}
    assert [entry.meta["year"] for entry in documents(raw, **config)] == [1999, 1862]


BAD = {
    "latin-1": ("a.txt", "caf\xe9 au lait".encode("latin-1"), {}, r"a\.txt: invalid UTF-8 at byte 3 \(0xe9\)"),
    "utf-16": ("a.txt", "hello".encode("utf-16"), {}, r"a\.txt: invalid UTF-8 at byte 0 \(0xff\)"),
    "cut character": ("a.txt", "né".encode()[:-1], {}, r"a\.txt: invalid UTF-8 at byte 1 \(0xc3\)"),
    "second piece": ("a.txt", b"good|bad\xff", {"separator": "|"}, r"a\.txt:2: invalid UTF-8 at byte 8 \(0xff\)"),
    "jsonl bytes": ("a.jsonl", b'{"text": "\xff"}', {}, r"a\.jsonl:1: invalid UTF-8 at byte 10 of the line"),
    "not json": ("a.jsonl", b'{"text": "x"}\n{"text": ', {}, r"a\.jsonl:2: not JSON: Expecting value"),
    "deep json": ("a.jsonl", b"[" * 100_000, {}, r"a\.jsonl:1: not JSON: "),
    "list": ("a.jsonl", b"[1]", {}, r"a\.jsonl:1: not an object but list"),
    "no field": ("a.jsonl", b'{"txt": "x", "n": 1}', {}, r"a\.jsonl:1: no field 'text', only txt, n .*text_field"),
    "number": ("a.jsonl", b'{"text": 5}', {}, r"a\.jsonl:1: 'text' is not text but int"),
    "surrogate": ("a.jsonl", b'{"text": "ab\\ud800"}', {}, r"a\.jsonl:1: 'text' has half a surrogate pair at .* 2"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_unreadable_documents_stop_with_their_place(fetched, case):
    name, content, config, message = BAD[case]
    with pytest.raises(MetrolineError, match=f"^{message}.*set documents.errors: drop"):
        documents(fetched({name: content}), **config)


@pytest.mark.parametrize("case", BAD)
def test_unreadable_documents_can_be_dropped_alone(fetched, case):
    name, content, config, _ = BAD[case]
    entries = documents(fetched({name: content, "z.txt": "last"}), errors="drop", **config)
    assert [type(entry) for entry in entries if entry.id.startswith("a.")].count(Unreadable) == 1
    assert isinstance(entries[-1], Document)
    assert entries[-1].text == "last"


def test_offset_of_bad_bytes_far_into_a_file(fetched, monkeypatch):
    monkeypatch.setattr(data.text.readers, "CHUNK", 10)
    content = b"line\r\n" * 50 + b"bad\xff\n" + b"line\n" * 50
    with pytest.raises(MetrolineError, match=r"a\.txt:51: invalid UTF-8 at byte 303 "):
        documents(fetched({"a.txt": content}), separator="\n")


def test_parquet_nulls_and_bad_bytes(fetched, tmp_path):
    broken = pa.StringArray.from_buffers(2, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xff"))
    pq.write_table(pa.table({"text": broken}), tmp_path / "x")
    files = {"a.parquet": parquet(tmp_path / "y", text=["one", None]), "b.parquet": (tmp_path / "x").read_bytes()}
    problems = [entry for entry in documents(fetched(files), errors="drop") if isinstance(entry, Unreadable)]
    assert problems == [
        Unreadable("a.parquet:2", "'text' is null"),
        Unreadable("b.parquet:2", "'text' has invalid UTF-8 at byte 0"),
    ]


def test_spoilt_parquet_files(fetched, tmp_path):
    good = parquet(tmp_path / "x", text=["one"], n=[1])
    for content, config, message in [
        (b"PAR1 nonsense", {}, r"a\.parquet: cannot read it as Parquet: "),
        (good[: len(good) // 2], {}, r"a\.parquet: cannot read it as Parquet: "),
        (good, {"text_field": "body"}, r"a\.parquet: no column 'body' \(it has text, n: name .* documents\)"),
        (good, {"meta_fields": ["year"]}, r"a\.parquet: no column 'year'"),
        (good, {"text_field": "n"}, r"a\.parquet: column 'n' is not text but int64"),
    ]:
        with pytest.raises(MetrolineError, match=message):
            documents(fetched({"a.parquet": content}), **config)


def test_pattern_that_fits_no_name(fetched):
    with pytest.raises(MetrolineError, match=r"documents\.meta_pattern matches no file name, not even a\.txt"):
        documents(fetched({"a.txt": "x"}), meta_pattern=r"(?P<year>\d{4})")


def test_nothing_fetched(tmp_path, fetched):
    with pytest.raises(MetrolineError, match="nothing is fetched in"):
        raw_files(tmp_path / "raw")
    raw = fetched({"a.txt": "x"})
    (raw / "files/a.txt").unlink()
    with pytest.raises(MetrolineError, match=r"a\.txt is missing \(fetch again"):
        documents(raw)
    (raw / "files/a.txt").write_text("y")
    with pytest.raises(MetrolineError, match=r"a\.txt has changed since it was fetched \(fetch again"):
        documents(raw)
    (raw / "source.json").write_text("[")
    with pytest.raises(MetrolineError, match=r"source\.json: damaged"):
        raw_files(raw)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"separator": ""}, "at least 1 character"),
        ({"meta_pattern": "(?P<year"}, "not a regular expression"),
        ({"meta_pattern": "[0-9]+"}, "no named group"),
        ({"bins": {"decade": {"of": "year", "width": 10}}}, "year is in neither meta_pattern nor meta_fields"),
        ({"meta_fields": ["year"], "bins": {"decade": {"of": "year", "width": 0}}}, "greater than or equal to 1"),
        ({"errors": "ignore"}, "'stop' or 'drop'"),
        ({"textfield": "x"}, "Extra inputs"),
    ],
)
def test_bad_settings(values, message):
    with pytest.raises(ValidationError, match=message):
        DocumentsConfig.model_validate(values)
