"""Two endpoints behind nginx, updated one after the other under 64 clients: is a request lost, and what do they wait?

    python -m benchmarks.rolling_update [BUNDLE]        # default: artifacts/tiny/bundle

Each endpoint is stopped and started anew (a new version, new settings, another bundle). Each client asks, waits for its
answer and half a second. Values: requests that were not answered with 200, and the 99th percentile of the time to an
answer while the update goes on, over that of 20 s before it. The clients share the cores with both endpoints.
"""

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from base.processes import free_port
from benchmarks._report import report, say
from benchmarks._traffic import Traffic
from benchmarks._training import ROOT
from serving.app.proxy import Proxy
from serving.app.run import Server, start

CLIENTS, PAUSE, BEFORE, FACTOR = 64, 0.5, 20.0, 2.0


class Replicas:
    """Endpoints of a bundle at ports of their own."""

    def __init__(self, bundle: Path, folder: Path, stack: ExitStack, count: int = 2) -> None:
        self._bundle, self._folder, self._stack = bundle, folder, stack
        self.addresses = [f"127.0.0.1:{free_port()}" for _ in range(count)]
        self._running: dict[str, Server] = {}
        for address in self.addresses:
            self.start(address)

    def start(self, address: str) -> None:
        """Start one, or start it anew, and return when it is ready."""
        if running := self._running.pop(address, None):
            running.__exit__(None, None, None)
        port = int(address.rpartition(":")[2])
        queue = {"METROLINE_QUEUE": str(4 * CLIENTS)}  # while the others are out, each has to take all clients
        server = start(self._bundle, port=port, log=self._folder / f"{port}.log", environment=queue)
        self._running[address] = server
        server.wait_ready()

    def stop(self) -> None:
        """End all."""
        for server in self._running.values():
            server.__exit__(None, None, None)


def p99(seconds: list[float]) -> float:
    """In milliseconds."""
    return round(1000 * float(np.percentile(seconds, 99)), 1)


def main(bundle: Path) -> None:
    if not bundle.is_dir():
        report(benchmark="rolling_update", skipped=f"no bundle {bundle}: metroline run tiny", ok=True)
    with TemporaryDirectory(prefix="metroline-rolling-") as temporary, ExitStack() as stack:
        folder = Path(temporary)
        replicas = Replicas(bundle, folder, stack)
        stack.callback(replicas.stop)
        proxy = stack.enter_context(Proxy(0, replicas.addresses, folder / "nginx", patience=30))
        body = {"prompt": "The state of the Union", "max_tokens": 8, "temperature": 0}
        with Traffic(proxy.url, "/v1/completions", CLIENTS, lambda: body, PAUSE) as traffic:
            time.sleep(3)
            began = time.monotonic()
            time.sleep(BEFORE)
            update = time.monotonic()
            say("update begins")
            proxy.roll(replicas.start)
            ended = time.monotonic()
            say(f"update ended after {ended - update:.1f} s")
        sent = traffic.sent
    before = p99([took for at, took in sent.seconds if began <= at < update])
    during = p99([took for at, took in sent.seconds if update <= at < ended])
    report(
        benchmark="rolling_update", bundle=bundle.parent.name, clients=CLIENTS, requests=len(sent.seconds),
        lost=len(sent.lost), why_lost=sent.lost[:3], update_seconds=round(ended - update, 1), p99_before_ms=before,
        p99_during_ms=during, factor=round(during / before, 2), wanted=FACTOR,
        ok=not sent.lost and during <= FACTOR * before,
    )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "artifacts/tiny/bundle")
