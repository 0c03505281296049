"""What Prefect servers refuse, from a stand-in that answers as they do: each is one line."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import prefect
import pytest
from packaging.version import Version
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from base.errors import MetrolineError
from pipelines.line.prefect_api import client
from tests.pipelines.line.scratch_project import invoke

HERE = Version(prefect.__version__)
EXTRA = {
    "exception_message": "Invalid request received.",
    "exception_detail": [{"msg": "Extra inputs are not permitted"}],
}


class Server(ThreadingHTTPServer):
    """Answers `health` with 200, `admin/version` with `version`, and all else with 422 and EXTRA."""

    version: object = str(HERE)
    password: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/api"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/health":
            return self.answer(200, True)
        if self.server.password and self.headers["Authorization"] != self.server.password:
            return self.answer(401, {"exception_message": "Unauthorized"})
        if self.path == "/api/admin/version":
            return self.answer(200, self.server.version)
        return self.answer(404 if "csrf-token" in self.path else 422, EXTRA)

    do_POST = do_GET

    def answer(self, status: int, body: object) -> None:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


def refusal(server: Server) -> str:
    with pytest.raises(MetrolineError) as caught, client(server.url):
        pass
    return str(caught.value)


@pytest.mark.parametrize("version", [f"{HERE.major}.{HERE.minor}.0", f"{HERE.major}.{HERE.minor + 1}.0", HERE])
def test_a_server_of_this_version_or_a_later_one_is_taken(server, version):
    server.version = str(version)
    with client(server.url) as found:
        assert found.api_version() == str(version)


@pytest.mark.parametrize(
    ("version", "hint"),
    [
        (f"{HERE.major}.{HERE.minor - 2}.10", "update the server"),
        ("2.20.1", "update the server"),
        (f"{HERE.major + 1}.0.0", "update this Prefect"),
    ],
)
def test_a_server_of_another_version(server, version, hint):
    server.version = version
    said = refusal(server)
    assert said.startswith(f"the Prefect server at {server.url} is of version {version}, this is {HERE} ({hint}")


@pytest.mark.parametrize("answer", [b"<!doctype html>", {"version": 3}, None, "soon"])
def test_what_answers_is_no_prefect(server, answer):
    server.version = answer
    assert refusal(server) == f"what answers at {server.url} is no Prefect API (PREFECT_API_URL ends in /api)"


@pytest.mark.parametrize("command", [["run", "one"], ["schedule", "one", "--cron", "0 3 * * *", "--register-only"]])
def test_a_password(project: Path, server, command):
    server.password = "Basic YTpi"  # a:b
    for given in ({}, {"PREFECT_API_AUTH_STRING": "a:c"}):
        done = invoke(*command, PREFECT_API_URL=server.url, **given)
        assert done.exit_code == 1
        assert done.stderr.splitlines()[-1] == (
            f"error: the Prefect server at {server.url} wants a password, or another one"
            " (PREFECT_API_AUTH_STRING=USER:PASSWORD gives it)"
        )
    done = invoke(*command, PREFECT_API_URL=server.url, PREFECT_API_AUTH_STRING="a:b")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith(f"error: the Prefect server at {server.url} refused /api/")


def test_what_it_does_not_understand(project: Path, server):
    done = invoke("schedule", "one", "--cron", "0 3 * * *", "--register-only", PREFECT_API_URL=server.url)
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        f"error: the Prefect server at {server.url} refused /api/work_pools/ with 422:"
        " [{'msg': 'Extra inputs are not permitted'}]"
    ]


def test_it_falls_silent(server):
    def ask() -> None:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}), client(server.url) as found:
            server.shutdown()
            server.server_close()
            found.hello()

    with pytest.raises(MetrolineError, match=f"the Prefect server at {server.url} does not answer: "):
        ask()
