"""A reverse proxy that shows a server below a path, as nginx does: location /llm/ { proxy_pass http://server/; }"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

KEPT = ("accept", "authorization", "content-type", "origin")


@contextmanager
def below(server: str, path: str) -> Iterator[str]:
    """The address at which `server` is then to be found; `path` begins and ends with a slash."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.path.startswith(path):
                return self.send_error(404)
            length = int(self.headers.get("content-length", "0"))
            wanted = {name: value for name, value in self.headers.items() if name.lower() in KEPT}
            address = server + "/" + self.path.removeprefix(path)
            with httpx.stream(self.command, address, headers=wanted, content=self.rfile.read(length),
                              timeout=20, trust_env=False) as answer:  # fmt: skip
                self.send_response(answer.status_code)
                for name, value in answer.headers.items():
                    if name not in ("content-length", "transfer-encoding", "connection"):
                        self.send_header(name, value)
                self.end_headers()
                for piece in answer.iter_raw():
                    self.wfile.write(piece)
                    self.wfile.flush()

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}{path}"
        made.shutdown()
