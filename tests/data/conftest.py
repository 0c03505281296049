"""A server to download from, and folders as `fetch` leaves them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from data.fetch.sources import fetch, pin
from tests.data.fetch.web_site import site

__all__ = ["site"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Partial downloads of a test stay below its own folder."""
    monkeypatch.setenv("METROLINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "downloads"


@pytest.fixture
def fetched(tmp_path: Path) -> Callable[[dict[str, bytes | str]], Path]:
    """Turn {file name: content} into a fetched folder, through the real `file` source."""

    def make(contents: dict[str, bytes | str], name: str = "raw") -> Path:
        own = tmp_path / f"own-{name}"
        for file, content in contents.items():
            path = own / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        fetch(pin(own), tmp_path / name, name="test")
        return tmp_path / name

    return make
