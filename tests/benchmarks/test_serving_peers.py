"""Peers are measured in a Python of their own, or left out with a word."""

import sys
from pathlib import Path

import pytest

from benchmarks import _serving_peers
from benchmarks._serving_peers import baseline, further, measured

SCRIPT = """
import sys
print("noise")
print('{"kind": "a", "one": 1.0, "many": 5.0, "prefill": 2.0, "threads": %s}' % sys.argv[2])
print('{"kind": "b", "one": 3.0, "many": 4.0, "prefill": 2.5}')
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A peer's script beside the module, as it would lie there."""
    monkeypatch.setattr(_serving_peers, "__file__", str(tmp_path / "_serving_peers.py"))
    monkeypatch.setenv("PEER_PYTHON", sys.executable)
    monkeypatch.setenv("PEER_MODEL", "a.gguf")
    return tmp_path / "peer.py"


def test_the_best_of_each_kind_counts(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script.write_text(SCRIPT)
    assert measured("peer", "peer.py", "PEER_PYTHON", "PEER_MODEL", 2) == {"one": 3.0, "many": 5.0, "prefill": 2.5}
    assert '"threads": 2' in capsys.readouterr().out


@pytest.mark.parametrize("content", ["raise SystemExit(3)", "print('nothing')", "import a_peer_that_is_not_there"])
def test_one_that_fails_is_left_out(script: Path, capfd: pytest.CaptureFixture[str], content: str) -> None:
    script.write_text(content)
    assert measured("peer", "peer.py", "PEER_PYTHON", "PEER_MODEL", 2) is None
    assert "peer is left out: its script ended with" in capfd.readouterr().out


def test_no_interpreter(script: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PEER_PYTHON", "/no/such/python")
    assert measured("peer", "peer.py", "PEER_PYTHON", "PEER_MODEL", 2) is None
    assert "/no/such/python cannot be run" in capsys.readouterr().out


def test_none_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("PEER_PYTHON", "GGUF", "TRANSFORMERS_PYTHON", "GENAI_PYTHON", "GENAI"):
        monkeypatch.delenv(f"METROLINE_{name}", raising=False)
    assert baseline(2) is None
    assert further(tmp_path, 2) == {}
    assert capsys.readouterr().out.splitlines() == [
        "llama.cpp is left out: METROLINE_PEER_PYTHON and METROLINE_GGUF are not set",
        "transformers is left out: METROLINE_TRANSFORMERS_PYTHON is not set",
        "onnxruntime-genai is left out: METROLINE_GENAI_PYTHON and METROLINE_GENAI are not set",
    ]
