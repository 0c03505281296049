"""Rows: every form gives the same rows; what a spreadsheet does to a file is read right, or named with its line."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from base.errors import MetrolineError
from data.tables.config import RowsConfig
from data.tables.rows import read_rows


def rows(tmp_path: Path, name: str, content: str | bytes, **config: object) -> list[dict]:
    path = tmp_path / Path(name).name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [row.values for row in read_rows({name: path}, RowsConfig.model_validate(config))]


LINE = 1 << 17
TWO = [{"id": "001", "text": "a, b", "n": "1.5"}, {"id": "2", "text": "x\ny", "n": None}]
CSV = 'id,text,n\n001,"a, b",1.5\n2,"x\ny",\n'


@pytest.mark.parametrize(
    ("name", "content", "config"),
    [
        ("a.csv", CSV, {}),
        ("a.csv", CSV.replace("\n", "\r\n").replace("x\r\n", "x\n"), {}),
        ("a.csv", b"\xef\xbb\xbf" + CSV.encode(), {}),
        ("a.csv.gz", gzip.compress(CSV.encode()), {}),
        ("a.CSV.GZ", gzip.compress(CSV.encode()), {}),
        ("a.csv", CSV + "\n\n", {}),
        ("a.tsv", 'id\ttext\tn\n001\t"a, b"\t1.5\n2\t"x\ny"\t\n', {}),
        ("a.csv", 'id;text;n\n001;"a, b";1.5\n2;"x\ny";?\n', {"delimiter": ";", "missing": ["?"]}),
        ("a.csv", 'id, text, n\n 001 ,"a, b", 1.5\n2, "x\ny", \n', {"trim": True}),
        ("a.data", CSV.split("\n", 1)[1], {"form": "csv", "columns": ["id", "text", "n"]}),
        ("a.csv", CSV.encode("utf-16"), {"encoding": "utf-16"}),
        ("a.jsonl", "\n".join(json.dumps(row) for row in TWO), {}),
        ("a.jsonl", b"\xef\xbb\xbf" + "\r\n\r\n".join(json.dumps(row) for row in TWO).encode(), {}),
    ],
)
def test_the_same_rows(tmp_path, name, content, config):
    assert rows(tmp_path, name, content, **config) == TWO


def test_parquet(tmp_path):
    table = {"id": ["001", "2"], "n": [1.5, float("nan")], "k": [None, 7], "day": pa.array([0, 1], pa.date32())}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    found = list(read_rows({"a.parquet": tmp_path / "a.parquet"}, RowsConfig()))
    assert [row.values for row in found] == [
        {"id": "001", "n": 1.5, "k": None, "day": "1970-01-01"},
        {"id": "2", "n": None, "k": 7, "day": "1970-01-02"},
    ]
    assert [row.id for row in found] == ["a.parquet:1", "a.parquet:2"]


def test_a_row_has_the_line_it_begins_in(tmp_path):
    (tmp_path / "a.csv").write_text('a,b\n1,"x\ny\nz"\n\n2,w\n')
    found = read_rows({"d/a.csv": tmp_path / "a.csv"}, RowsConfig())
    assert [row.id for row in found] == ["d/a.csv:2", "d/a.csv:6"]


def test_lines_of_a_pattern_in_latin_1(tmp_path):
    pattern = r"(?P<label>\d+) (?P<text>.*)"
    found = rows(tmp_path, "TREC.all", "0 how far is M\xfcnchen ?\r\n1 who\n".encode("latin-1"), form="lines",
                 pattern=pattern, encoding="latin-1")  # fmt: skip
    assert found == [{"label": "0", "text": "how far is München ?"}, {"label": "1", "text": "who"}]
    with pytest.raises(MetrolineError, match=r"TREC.all:2: pattern does not match 'no label'"):
        rows(tmp_path, "TREC.all", "0 a\nno label\n", form="lines", pattern=pattern)


def test_without_quotes_and_with_longer_rows(tmp_path):
    content = 'a\tb\tan "open quote\textra\nc\td\tit\'s "so"\n'
    found = rows(tmp_path, "a.csv", content, form="tsv", quotes=False, columns=["x", "y", "z"], longer_rows="cut")
    assert found == [{"x": "a", "y": "b", "z": 'an "open quote'}, {"x": "c", "y": "d", "z": 'it\'s "so"'}]


def test_files_by_glob_in_order(tmp_path):
    for name in ("b.csv", "a.csv", "README.md"):
        (tmp_path / name).write_text(f"x\n{name}\n")
    files = {name: tmp_path / name for name in ("b.csv", "a.csv", "README.md")}
    assert [row.values["x"] for row in read_rows(files, RowsConfig(files="*.csv"))] == ["a.csv", "b.csv"]
    assert [row.values["x"] for row in read_rows(files, RowsConfig())] == ["a.csv", "b.csv"]
    with pytest.raises(
        MetrolineError, match=r"matches 'READ.*' and is .csv, .* \(there are: README.md, a.csv, b.csv; "
    ):
        list(read_rows(files, RowsConfig(files="README.md")))
    with pytest.raises(
        MetrolineError, match=r"no fetched file matches '\*.tsv' \(there are: README.md, a.csv, b.csv\)"
    ):
        list(read_rows(files, RowsConfig(files="*.tsv", form="tsv")))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "a,b\n1,2\n3\n", r"a.csv:3: 1 values for 2 columns"),
        ("a.csv", "a,b\n1,2,3\n", r"a.csv:2: 3 values for 2 columns"),
        ("a.csv", "a,a\n1,2\n", r"a.csv:1: two columns are called 'a'"),
        ("a.csv", "a,\n1,2\n", r"a.csv:1: column 2 has no name"),
        ("a.csv", 'a,b\n1,2\n3,"open\n4,5\n', r"a.csv:3: unexpected end of data"),
        ("a.csv", 'a,b\n1,"x"y\n', r"a.csv:2: .*expected after"),
        ("a.csv", "a\n\xe4\n".encode("latin-1"), r"not utf-8 \(byte 0xe4\) \(name the right encoding"),
        ("a.csv", "a\nb\n".encode("utf-16"), r"not utf-8 \(byte 0xff\)"),
        ("a.csv", ",".join(f"c{n}" for n in range(20_000)) + "\n", r"a.csv:1: 20,000 columns, more than 10,000"),
        ("a.csv.gz", gzip.compress(b"a\n" + b"1\n" * 9999)[:-9], r"damaged .gz file"),
        ("a.jsonl", '{"a": 1}\n[1]\n', r"a.jsonl:2: not an object but list"),
        ("a.jsonl", '{"a": 1}\n{"a"\n', r"a.jsonl:2: not JSON"),
        ("a.jsonl", '{"a": {"b": 1}}\n', r"a.jsonl:1: a is no single value but dict"),
        ("a.jsonl", '{"a": 1, "a": 2}\n', r'a.jsonl:1: the key "a" occurs twice'),
        ("a.jsonl", "[" * 100_000, r"a.jsonl:1: JSON that is nested too deep"),
        ("a.parquet", b"PAR1 no", r"a.parquet: cannot read it as Parquet"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named(tmp_path, name, content, message):
    with pytest.raises(MetrolineError, match=message):
        rows(tmp_path, name, content)


@pytest.mark.parametrize("content", ["x" * (LINE + 2), "a\n" + "x" * (LINE + 2), 'a\n"' + "x,\n" * (LINE // 3 + 9)])
def test_a_line_without_end_is_not_held(tmp_path, content, monkeypatch):
    monkeypatch.setattr("data.tables.rows.LINE", LINE)
    with pytest.raises(MetrolineError, match=r"more than|larger than field limit"):
        rows(tmp_path, "a.csv.gz", gzip.compress(content.encode(), 1))


@pytest.mark.parametrize(
    "config",
    [{"encoding": "klingon"}, {"columns": ["a", "a"]}, {"form": "lines"}, {"pattern": "(?P<a>x)"},
     {"form": "lines", "pattern": "x"}, {"form": "lines", "pattern": "(?P<a>"}, {"unknown": 1}],
)  # fmt: skip
def test_bad_settings(config):
    with pytest.raises(ValidationError):
        RowsConfig.model_validate(config)
