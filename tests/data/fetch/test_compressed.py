"""Packed text reads as plain text does; damage and bombs are one line, whatever is in the file."""

import gzip

import pyarrow as pa
import pytest

import data.fetch.compressed
from base.errors import MetrolineError
from data.fetch.compressed import open_text
from data.text.documents import Document, DocumentsConfig, raw_files, read

LINES = b'{"text": "one"}\n{"text": "two"}\n'


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


PACK = {".gz": gzip.compress, ".zst": zstd}


@pytest.mark.parametrize("ending", PACK)
@pytest.mark.parametrize("kind", [".txt", ".jsonl", ".ndjson", ".JSONL"])
def test_packed_text_is_read(fetched, kind, ending):
    content = b"one|two" if kind == ".txt" else LINES
    raw = fetched({f"a{kind}{ending}": PACK[ending](content), f"b{kind}": content})
    entries = [entry for entry in read(raw_files(raw), DocumentsConfig(separator="|")) if isinstance(entry, Document)]
    assert [(entry.id, entry.text) for entry in entries] == [
        (f"a{kind}{ending}:1", "one"),
        (f"a{kind}{ending}:2", "two"),
        (f"b{kind}:1", "one"),
        (f"b{kind}:2", "two"),
    ]


@pytest.mark.parametrize("ending", PACK)
def test_files_packed_in_parts(tmp_path, ending):
    path = tmp_path / f"a.txt{ending}"
    path.write_bytes(PACK[ending](b"one\n" * 30_000) + PACK[ending](b"two\n"))
    with open_text(path) as file:
        lines = list(file)
    assert (len(lines), lines[-1]) == (30_001, b"two\n")


@pytest.mark.parametrize("ending", PACK)
@pytest.mark.parametrize("harm", ["cut", "not packed", "junk behind", "flipped"])
def test_damage_is_one_line(fetched, ending, harm):
    packed = PACK[ending]("".join(f'{{"text": "number {number}"}}\n' for number in range(5000)).encode())
    content = {
        "cut": packed[: len(packed) // 2],
        "not packed": LINES,
        "junk behind": packed + b"junk",
        "flipped": packed[:40] + bytes(byte ^ 0xFF for byte in packed[40:60]) + packed[60:],
    }[harm]
    with pytest.raises(MetrolineError, match=rf"a\.jsonl\{ending}: cannot unpack it: .+ \(copy or pack it again\)$"):
        list(read(raw_files(fetched({f"a.jsonl{ending}": content})), DocumentsConfig(errors="drop")))


@pytest.mark.parametrize("ending", PACK)
def test_bombs_are_refused_while_they_unpack(tmp_path, monkeypatch, ending):
    monkeypatch.setattr(data.fetch.compressed, "FREE", 1 << 20)
    path = tmp_path / f"a.jsonl{ending}"
    path.write_bytes(PACK[ending](bytes(20_000_000)))
    read_ = 0
    with pytest.raises(MetrolineError, match=r"unpacks to more than 100 times its size"), open_text(path) as file:  # noqa: PT012
        while chunk := file.read(1 << 16):
            read_ += len(chunk)
    assert read_ < (1 << 20) + 100 * path.stat().st_size


@pytest.mark.parametrize("ending", PACK)
def test_an_empty_packed_file_has_no_rows(fetched, ending):
    raw = fetched({f"a.jsonl{ending}": PACK[ending](b""), "b.txt": "text"})
    assert [entry.id for entry in read(raw_files(raw), DocumentsConfig())] == ["b.txt"]
