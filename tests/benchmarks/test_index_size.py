"""The documents of the benchmark of large indexes, and how it measures memory."""

import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks import index_size


@pytest.fixture
def speeches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = tmp_path / "data/raw/speeches-index/files"
    files.mkdir(parents=True)
    for name in ("one", "two"):
        words = [f"{name}{number}" for number in range(100)]
        (files / f"{name}.txt").write_text(" ".join(words))
    monkeypatch.setattr(index_size, "ROOT", tmp_path)
    return files


def test_copies_are_the_documents_with_some_words_changed(speeches: Path) -> None:
    found = list(index_size.copies(3))  # 2,160 bytes; a document has 590
    assert [name for name, _ in found] == ["0-one.txt", "0-two.txt", "1-one.txt", "1-two.txt"]
    assert found[0][1] == (speeches / "one.txt").read_text()
    before, after = (np.array(found[number][1].split()) for number in (0, 2))
    assert 1 <= (before != after).sum() <= 5
    assert set(after) <= set(before)
    assert found == list(index_size.copies(3))


def test_memory_is_that_of_the_whole_tree() -> None:
    own = int(Path(f"/proc/{os.getpid()}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert index_size.memory(os.getpid()) == pytest.approx(own, rel=0.2)
    assert index_size.memory(os.getppid()) > own / 2
