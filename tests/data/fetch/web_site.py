"""A web server on loopback that can break in every way a test asks for."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class Fault:
    """What the server does once with a request for a path, instead of answering it well."""

    status: int = 0  # answer with this status
    headers: dict[str, str] = field(default_factory=dict)  # and these headers
    break_after: int = -1  # close the connection after this many bytes of the body
    ignore_range: bool = False  # send all of the file though a part was asked for
    redirect: str = ""
    pause: float = 0.0  # seconds between pieces of 64 KiB


@dataclass
class Site:
    """The server's files, its coming faults (first in, first used) and the requests that it got."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)  # path, Range header

    @property
    def ranges(self) -> list[str]:
        return [range_ for _, range_ in self.requests]


def handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            site.requests.append((self.path, wanted))
            queue = site.faults.get(self.path, [])
            fault = queue.pop(0) if queue else Fault()
            if fault.redirect:
                return self.answer(302, b"", {"Location": fault.redirect})
            if fault.status:
                return self.answer(fault.status, b"", fault.headers)
            if self.path not in site.files:
                return self.answer(404, b"", {})
            body, status, headers = site.files[self.path], 200, {}
            if wanted and not fault.ignore_range:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                if start >= len(body):
                    return self.answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
                headers = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
                body, status = body[start:], 206
            return self.answer(status, body, headers | fault.headers, fault)

        def answer(self, status: int, body: bytes, headers: dict[str, str], fault: Fault | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": "text/html", "Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            fault = fault or Fault()
            if fault.break_after >= 0:
                self.wfile.write(body[: fault.break_after])
                self.wfile.flush()
                self.close_connection = True
                self.connection.shutdown(2)
                return
            try:
                for start in range(0, len(body), 1 << 16):
                    self.wfile.write(body[start : start + (1 << 16)])
                    time.sleep(fault.pause)
            except OSError:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    return Handler


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
