"""A model that answers in one call, against BentoML's own batching of the same ONNX file, under 64 clients.

    python -m benchmarks.forward [BUNDLE]        # default: the bundle of `digits`

Both servers run one worker on this machine and are loaded in turns, each client with its next request as soon as it
has its answer. Ours gets a golden item as a client would send it (a row by its column names, or the image file) and
decodes it; the peer gets the decoded array as JSON. Value: our requests a second; baseline: the peer's. No answer may
be wrong (each is held against the golden one) and none lost; our p99 may not be above the peer's.
"""

import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np

from base.processes import free_port, stop_group
from benchmarks._report import report, say
from data import golden
from data.codecs import decode
from data.signature import FILE, Signature
from serving.app.run import start

CLIENTS, SECONDS, ROUNDS, WARM = 64, 10.0, 3, 2.0
ACCEPT = 1.5
ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Load:
    """What clients saw of one server, all rounds together."""

    seconds: list[float] = field(default_factory=list)
    """Of each answer."""
    wrong: int = 0
    lost: int = 0
    time: float = 0.0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.seconds) / self.time

    def percentile(self, percent: float) -> float:
        """Milliseconds."""
        return float(np.percentile(self.seconds, percent)) * 1000


class Client:
    """A connection that is kept; one request at a time."""

    def __init__(self, address: tuple[str, int], requests: list[tuple[bytes, bytes]], first: int) -> None:
        self.socket = socket.create_connection(address, 30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.requests, self.turn, self.held, self.sent = requests, first, b"", 0.0

    def send(self) -> None:
        """The next request."""
        self.turn = (self.turn + 1) % len(self.requests)
        self.held, self.sent = b"", time.perf_counter()
        self.socket.sendall(self.requests[self.turn][0])

    def answered(self) -> bytes | None:
        """The body, once it is whole. Raises ConnectionError when the server is gone or refuses."""
        data = self.socket.recv(1 << 16)
        if not data:
            raise ConnectionError("closed")
        self.held += data
        head, found, body = self.held.partition(b"\r\n\r\n")
        if not found:
            return None
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise ConnectionError(head.split(b"\r\n", 1)[0].decode())
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return body if len(body) >= length else None


def drive(
    url: str, path: str, bodies: list[tuple[bytes, str]], expected: list[bytes], load: Load, seconds: float
) -> None:
    """CLIENTS connections for that many seconds; what was asked is read to its end."""
    address = urlsplit(url)
    requests = []
    for (body, kind), answer in zip(bodies, expected, strict=True):
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        requests.append((head.encode() + body, answer))
    selector = selectors.DefaultSelector()
    clients = [Client((address.hostname or "", address.port or 80), requests, i) for i in range(CLIENTS)]
    began = time.perf_counter()
    for client in clients:
        selector.register(client.socket, selectors.EVENT_READ, client)
        client.send()
    running = len(clients)
    while running:
        for key, _ in selector.select(30) or [(None, 0)]:
            if key is None:
                load.lost += running
                running = 0
                break
            client = key.data
            try:
                body = client.answered()
            except (ConnectionError, StopIteration):
                load.lost += 1
                selector.unregister(client.socket)
                running -= 1
                continue
            if body is None:
                continue
            now = time.perf_counter()
            load.seconds.append(now - client.sent)
            load.wrong += body != client.requests[client.turn][1]
            if now - began < seconds:
                client.send()
            else:
                selector.unregister(client.socket)
                running -= 1
    load.time += time.perf_counter() - began
    for client in clients:
        client.socket.close()


def peer(stack: ExitStack, bundle: Path, folder: str, threads: int) -> str:
    """The address of the peer, once it answers."""
    port = free_port("127.0.0.1", 0)
    command = [sys.executable, "-m", "bentoml", "serve", "benchmarks._bento_batchable:Peer", "--port", str(port)]
    variables = {"MODEL": str(bundle / "model.onnx"), "THREADS": str(threads), "BENTOML_HOME": f"{folder}/peer",
                 "BENTOML_DO_NOT_TRACK": "True"}  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | variables, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    stack.callback(stop_group, process.pid, 5)
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(httpx.HTTPError):
            if httpx.get(f"{url}/readyz", timeout=2, trust_env=False).status_code == 200:
                return url
        time.sleep(0.1)
    raise RuntimeError("the peer did not start")


def main() -> None:
    """Measure, and print the result."""
    bundle = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "artifacts/digits/bundle"
    if not (bundle / FILE).is_file():
        print(json.dumps({"name": "forward", "skipped": f"no bundle at {bundle}: metroline run digits"}))
        return
    signature, name = Signature.load(bundle / FILE), json.loads((bundle / "manifest.json").read_text())["name"]
    items, threads = golden.load(bundle, signature), os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        server = stack.enter_context(
            start(bundle, port=0, log=Path(folder) / "log", environment={"BENTOML_HOME": f"{folder}/ours"}, tied=True)
        )
        server.wait_ready()
        theirs = peer(stack, bundle, folder, threads)
        ours = [golden.request(signature, item) for item in items]
        own = [_own(server.url, name, signature, item, request) for item, request in zip(items, ours, strict=True)]
        arrays = [decode(signature.inputs[0], item.inputs[0])[None] for item in items]
        rows = [(json.dumps({"rows": array.tolist()}).encode(), "application/json") for array in arrays]
        answers = [httpx.post(f"{theirs}/predict", content=body, headers={"Content-Type": kind}, timeout=30,
                              trust_env=False).raise_for_status().content for body, kind in rows]  # fmt: skip
        loads: dict[str, Load] = {"metroline": Load(), "bentoml": Load()}
        for seconds in (WARM, *[SECONDS] * ROUNDS):
            for key, url, path, bodies, expected in (
                ("metroline", server.url, f"/v1/models/{name}/predict", ours, own),
                ("bentoml", theirs, "/predict", rows, answers),
            ):
                load = Load() if seconds == WARM else loads[key]
                drive(url, path, bodies, expected, load, seconds)
                say(f"{key}: {load.rate:.0f} requests/s, p99 {load.percentile(99):.1f} ms")
    mine, other = loads["metroline"], loads["bentoml"]
    ratio = mine.rate / other.rate
    report(
        name="forward",
        value=round(mine.rate),
        unit="requests/s",
        baseline=round(other.rate),
        ratio=round(ratio, 3),
        accept=f">= {ACCEPT:g}, p99 <= the peer's, none wrong, none lost",
        ok=ratio >= ACCEPT and mine.percentile(99) <= other.percentile(99) and not (mine.wrong or mine.lost),
        model=name,
        clients=CLIENTS,
        p99_ms=round(mine.percentile(99), 2),
        baseline_p99_ms=round(other.percentile(99), 2),
        wrong=mine.wrong,
        lost=mine.lost,
        baseline_wrong=other.wrong,
        baseline_lost=other.lost,
    )


def _own(url: str, name: str, signature: Signature, item: golden.Item, request: tuple[bytes, str]) -> bytes:
    """The bytes of our answer to a golden item. Raises RuntimeError where it is not the trained model's."""
    body, kind = request
    answer = httpx.post(
        f"{url}/v1/models/{name}/predict", content=body, headers={"Content-Type": kind}, timeout=30, trust_env=False
    ).raise_for_status()
    found: Any = golden.answers(signature, answer.json())
    if problem := golden.compare(signature, item, found):
        raise RuntimeError(problem)
    return answer.content


if __name__ == "__main__":
    main()
