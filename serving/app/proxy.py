"""Several endpoints behind nginx, taken out one after the other while the rest answer: a rolling update.

    python -m serving.app.proxy 127.0.0.1:3001 127.0.0.1:3002 --port 8080      # prints the nginx.conf, starts nothing

    with Proxy(port, replicas, folder) as proxy:
        proxy.roll(restart)            # restart(replica) stops one, starts it anew and returns when it is ready

nginx is told of a change by `nginx -s reload`: workers with the old configuration finish their requests, so a replica
that is marked down is idle once they are gone. Of the connections that clients keep open a reload would close some just
as a request comes in; therefore it keeps none (from nginx 1.27.4 on, keepalive_min_timeout could).
"""

import argparse
import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import httpx
import psutil

from base.errors import MetrolineError, exit_with
from base.files import write_text
from base.processes import end_with_parent, free_port

CONFIGURATION = """\
# Written by serving/app/proxy.py: endpoints of one model behind one address. What others are not to see is left out.
{user}daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log warn;
worker_processes 1;
worker_shutdown_timeout {patience:g}s;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_timeout 0; # or a reload loses requests on connections that were kept
    client_max_body_size 0; # the endpoint has its own bound (METROLINE_BODY_BYTES)
    upstream endpoints {{
        least_conn;
{servers}
        keepalive 64;
    }}
    server {{
        listen {port} backlog=4096;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_buffering off; # tokens as they come
        proxy_read_timeout 600s;
        proxy_next_upstream error timeout http_503; # one that leaves; of a POST only what no endpoint has had
        location / {{ proxy_pass http://endpoints; }}
        location = /metrics {{ return 404; }} # Prometheus asks each endpoint itself
    }}
}}
"""


def find() -> str:
    """nginx, which is often not on a user's PATH. Raises MetrolineError: it is not installed."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin{os.pathsep}/usr/local/sbin")
    if found is None:
        raise MetrolineError("nginx is not installed", hint="apt-get install nginx")
    return found


def configuration(
    listen: str, replicas: Sequence[str], folder: Path, *, down: Sequence[str] = (), patience: float = 600
) -> str:
    """nginx.conf for endpoints (host:port), some of which get no requests; `patience`: seconds of the longest request.

    Raises MetrolineError: no replica, one that is no host:port, none left.
    """
    for replica in (*replicas, listen):
        host, _, port = replica.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536 or set(replica) & set(" ;{}'\"\\#$\n\t"):
            raise MetrolineError(f"{replica!r} is no host:port", hint="as in 127.0.0.1:3001")
    if not set(replicas) - set(down):
        raise MetrolineError("no endpoint is left to answer", hint="a rolling update needs at least two")
    servers = [
        f"        server {replica}{' down' if replica in down else ' max_fails=1 fail_timeout=2s'};"
        for replica in replicas
    ]
    user = f"user {pwd.getpwuid(0).pw_name};\n" if os.geteuid() == 0 else ""  # else its workers cannot write there
    return CONFIGURATION.format(
        user=user, folder=folder, patience=patience, servers="\n".join(servers), port=listen
    )  # fmt: skip


class Proxy:
    """A running nginx before some endpoints. A context manager."""

    def __init__(self, port: int, replicas: Sequence[str], folder: Path, *, patience: float = 600) -> None:
        """`port` on loopback, 0: any free one; `folder`: of its configuration, log and temporary files."""
        self.replicas, self._folder, self._patience = tuple(replicas), folder, patience
        self._listen = f"127.0.0.1:{free_port('127.0.0.1', port)}"
        self.url = f"http://{self._listen}"
        self._command = [find(), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "nginx.log")]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Proxy":
        """Start it. Raises MetrolineError: it ends at once."""
        self._write(())
        self._process = subprocess.Popen(self._command, start_new_session=True, preexec_fn=end_with_parent)
        deadline = time.monotonic() + 10
        while True:
            with suppress(httpx.TransportError):
                httpx.get(f"{self.url}/metrics", trust_env=False)
                return self
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                raise MetrolineError("nginx did not start", hint=f"see {self._folder / 'nginx.log'}")
            time.sleep(0.05)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def roll(self, restart: Callable[[str], None]) -> None:
        """Take out one replica after the other, each until `restart` has returned. Raises whatever that raises."""
        for replica in self.replicas:
            self.only(out=replica)
            restart(replica)
            self.only()

    def only(self, out: str | None = None) -> None:
        """Send requests to all replicas but `out`, and return when it has answered what it was asked before."""
        assert self._process is not None
        before = self._workers()
        self._write((out,) if out else ())
        subprocess.run([*self._command, "-s", "reload"], check=True, capture_output=True)
        deadline = time.monotonic() + self._patience + 5
        while before & self._workers() and time.monotonic() < deadline:
            time.sleep(0.05)

    def _workers(self) -> set[int]:
        assert self._process is not None
        return {child.pid for child in psutil.Process(self._process.pid).children()}

    def _write(self, down: Sequence[str]) -> None:
        text = configuration(self._listen, self.replicas, self._folder, down=down, patience=self._patience)
        write_text(self._folder / "nginx.conf", text)


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.app.proxy", description="nginx.conf for several endpoints."
    )
    parser.add_argument("replicas", nargs="+", metavar="HOST:PORT")
    parser.add_argument("--port", default="8080", help="or an address to listen at (default: 127.0.0.1:%(default)s)")
    parser.add_argument("--folder", type=Path, default=Path(".metroline/nginx"), help="default: %(default)s")
    given = parser.parse_args(arguments)
    listen = given.port if ":" in given.port else f"127.0.0.1:{given.port}"
    print(configuration(listen, given.replicas, given.folder.resolve()), end="")
    return 0


if __name__ == "__main__":
    exit_with(main)
