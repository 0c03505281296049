"""Files of documents with anything in them: read, dropped with a reason, or refused in one line that names the file."""

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from base.errors import MetrolineError
from data.text.clean import CleanConfig, normalise, reason_to_drop
from data.text.documents import Document, DocumentsConfig, Unreadable, read
from tests.fuzz.profile import FUZZ, JSON, one_line, outcome

LINES = st.dictionaries(st.sampled_from(["text", "year", "a\nb"]), JSON, max_size=3) | JSON


def jsonl(lines: list[object]) -> bytes:
    return b"\n".join(json.dumps(line).encode() for line in lines)


def parquet(values: list[str | None]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"text": pa.array(values, pa.string())}), file)
    return file.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("documents")


def check(folder: Path, name: str, raw: bytes, config: DocumentsConfig) -> None:
    (folder / name).write_bytes(raw)
    found: list[Document | Unreadable] = []
    refused = outcome(lambda: found.extend(read({name: folder / name}, config)), MetrolineError)
    assert refused is None or (one_line(refused) and name in refused)
    for entry in found:
        assert entry.id.startswith(name)
        if isinstance(entry, Document):
            text = normalise(entry.text, CleanConfig())
            assert normalise(text, CleanConfig()) == text
            assert reason_to_drop(text, CleanConfig()) != ""
            json.dumps(entry.meta, allow_nan=False)
        else:
            assert one_line(entry.problem)


CONFIGS = st.builds(
    DocumentsConfig,
    separator=st.none() | st.sampled_from(["\n", "\n\n", "--", "a"]),
    meta_fields=st.sampled_from([(), ("year",)]),
    errors=st.sampled_from(["stop", "drop"]),
)


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")), CONFIGS)
@FUZZ
def test_text(folder, raw, config):
    check(folder, "a.txt", raw, config)


@given(st.lists(LINES, max_size=4).map(jsonl) | st.binary(max_size=60), CONFIGS)
@example(b'{"a\\nb": 1}', DocumentsConfig())
@example(b'{"a\\nb": 1}', DocumentsConfig(errors="drop"))
@FUZZ
def test_jsonl(folder, raw, config):
    check(folder, "a.jsonl", raw, config)


@given(st.lists(st.none() | st.text(st.characters(codec="utf-8"), max_size=20), max_size=4), st.data(), CONFIGS)
@FUZZ
def test_parquet(folder, values, data, config):
    raw = parquet(values)
    at = data.draw(st.integers(0, len(raw)))
    raw = raw[:at] + data.draw(st.binary(max_size=4)) + raw[at + data.draw(st.integers(0, 4)) :]
    check(folder, "a.parquet", raw, config)
