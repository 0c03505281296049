"""Which processors need care with 8-bit products."""

import platform
from pathlib import Path

import pytest

from base.processor import saturates


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu sse4_1 avx2 fma", True),
        ("fpu avx2 avx512f avx512bw", True),
        ("fpu avx2 avx512f avx512_vnni amx_int8", False),
        ("fpu avx2 avx_vnni", False),
    ],
)
def test_x86_without_vnni_saturates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, *, expected: bool
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor\t: 0\nflags\t\t: {flags}\n\nprocessor\t: 1\nflags\t\t: {flags}\n")
    assert saturates(path) is expected
    assert not saturates(tmp_path / "missing")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert not saturates(path)
