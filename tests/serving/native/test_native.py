"""Where the kernels come from, and what happens without them."""

import logging
import shutil
from pathlib import Path

import onnxruntime
import pytest

from serving import native

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_they_are_built_where_there_is_a_compiler() -> None:
    """A green run must not be one in which the kernels' tests were skipped."""
    library = native.library()
    assert library is not None
    assert library.is_relative_to(ROOT / "serving/native")
    sources = [*library.parent.glob("*.c"), *library.parent.glob("*.h")]
    assert library.stat().st_mtime >= max(path.stat().st_mtime for path in sources), "make setup"


def test_none_are_used_when_none_are_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "library", lambda: None)
    assert not native.register(onnxruntime.SessionOptions())


@pytest.mark.parametrize("contents", [b"", b"\x7fELF of another machine", None], ids=str)
def test_a_library_that_does_not_load_is_said_and_left(
    contents: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "kernels.so"
    if contents is not None:
        path.write_bytes(contents)
    monkeypatch.setattr(native, "library", lambda: path)
    options = onnxruntime.SessionOptions()
    with caplog.at_level(logging.WARNING):
        assert not native.register(options)
    assert "native kernels not used" in caplog.text
    assert str(path) in caplog.records[0].fields["problem"]
