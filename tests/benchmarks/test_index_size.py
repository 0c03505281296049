"""The documents of the benchmark of large indexes, and how it measures memory."""

import os
import subprocess
import sys
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
    """A child that holds 60 MB counts; other tests of this process may have children of their own."""
    before, most = index_size.memory(os.getpid()), 60_000_000
    code = f"held = b'1' * {most}; print('ready', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        alone, whole = index_size.memory(child.pid), index_size.memory(os.getpid())
        child.communicate(b"\n")
    assert most < alone < 2 * most
    assert whole - before > 0.5 * alone
