"""A server to download from, and folders as `fetch` leaves them."""

import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from data.fetch.sources import fetch, pin
from tests.data.fetch.web_site import Site, handler


@pytest.fixture
def site() -> Iterator[Site]:
    found = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(found))
    found.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


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
