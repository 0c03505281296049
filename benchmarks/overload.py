"""Four times as much as the endpoint can do: what becomes of those that it lets in, and of the others.

    python -m benchmarks.overload [BUNDLE]        # default: the bundle of `speeches`, else of any recipe

First as many clients as there are slots, each with its next request as soon as it has its answer: that is the
endpoint's capacity. Then requests come at random moments (a Poisson process) at four times that rate, whatever the
endpoint says, and none is sent again. Settings are the endpoint's own. Value: the 99th percentile of the seconds from
sending a request to the end of its stream, waiting included, over those that were let in under overload; baseline: the
same at capacity. The ratio may be 2, as may that of the seconds between two tokens of a stream. All others must get 429
with Retry-After.
"""

import json
import random
import selectors
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np

from benchmarks.serving_start import find_bundle
from serving.app.run import start
from serving.http.settings import Settings

TIMES, ACCEPT = 4, 2.0
WARM, SECONDS = 2.0, 10.0
EVENT, END = b"data: {", b"data: [DONE]"


@dataclass
class Asked:
    """What came of one request; moments in seconds of `time.perf_counter`."""

    sent: float
    head: bytes = b""
    """The answer's first bytes, up to its first event."""
    events: list[float] = field(default_factory=list)
    ended: float | None = None
    """When the stream was complete; None: it was cut off, or was none."""

    @property
    def status(self) -> int:
        """0: there was no answer."""
        words = self.head.split(b" ", 2)
        return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0

    @property
    def complete(self) -> bool:
        """Answered as it should be: a whole stream, or 429 that says when to come again."""
        return self.ended is not None if self.status == 200 else b"\r\nretry-after: " in self.head.lower()


class Crowd:
    """Clients in one thread, with plain sockets: they must not take the processor from what is measured."""

    def __init__(self, url: str, body: Callable[[], dict[str, Any]]) -> None:
        address = urlsplit(url)
        self._address, self._body = (address.hostname or "127.0.0.1", address.port or 80), body
        self._selector = selectors.DefaultSelector()
        self._rest: dict[int, bytes] = {}
        self.asked: list[Asked] = []

    @property
    def running(self) -> int:
        """Requests without an end."""
        return len(self._rest)

    def send(self) -> None:
        """One more request, on a connection of its own."""
        data = json.dumps({**self._body(), "stream": True}).encode()
        head = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
        connection = socket.create_connection(self._address, 30)
        asked = Asked(time.perf_counter())
        connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        connection.setblocking(False)
        self._selector.register(connection, selectors.EVENT_READ, asked)
        self._rest[connection.fileno()] = b""
        self.asked.append(asked)

    def read(self, seconds: float) -> None:
        """Take what comes within that time at most; returns after the first."""
        for key, _ in self._selector.select(max(0.0, seconds)):
            connection, asked = key.fileobj, key.data
            assert isinstance(connection, socket.socket)
            try:
                data = connection.recv(1 << 16)
            except ConnectionError:
                data = b""
            now, text = time.perf_counter(), self._rest[key.fd] + data
            if not asked.events:
                asked.head = (asked.head + data)[:4096]
            asked.events += [now] * text.count(EVENT)
            self._rest[key.fd] = text[text.rfind(b"\n") + 1 :]
            if END in text:
                asked.ended = now
            if not data or END in text:
                self._selector.unregister(connection)
                del self._rest[key.fd]
                connection.close()

    def finish(self, seconds: float = 120.0) -> list[Asked]:
        """Read all streams to their end. Returns all that was asked. Raises RuntimeError when that takes too long."""
        until = time.monotonic() + seconds
        while self.running:
            if time.monotonic() > until:
                raise RuntimeError(f"{self.running} requests had no end within {seconds:g} s")
            self.read(0.5)
        return self.asked


def at_capacity(crowd: Crowd, clients: int, seconds: float) -> list[Asked]:
    """Always so many requests at once."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        while crowd.running < clients:
            crowd.send()
        crowd.read(0.5)
    return crowd.finish()


def at_rate(crowd: Crowd, rate: float, seconds: float, dice: random.Random) -> list[Asked]:
    """Requests a second at random moments."""
    begin = time.perf_counter()
    moment = begin + dice.expovariate(rate)
    while moment < begin + seconds:
        while time.perf_counter() < moment:
            crowd.read(moment - time.perf_counter())
        crowd.send()
        moment += dice.expovariate(rate)
    return crowd.finish()


def summary(asked: Sequence[Asked], after: float = 0.0) -> dict[str, float]:
    """Of those let in and sent from the moment `after` on: p50 and p99, in seconds, of answers, first tokens, gaps."""
    let_in = [each for each in asked if each.status == 200 and each.ended is not None and each.sent >= after]
    whole = [each.ended - each.sent for each in let_in if each.ended is not None]
    first = [each.events[0] - each.sent for each in let_in]
    gaps = [later - earlier for each in let_in for earlier, later in pairwise(each.events)]
    return {
        f"{name}_p{percent}": float(np.percentile(values, percent))
        for name, values in (("answer", whole), ("first", first), ("token", gaps))
        for percent in (50, 99)
    }


def verdict(calm: dict[str, float], busy: dict[str, float], asked: Sequence[Asked]) -> dict[str, Any]:
    """The JSON line. `asked`: everything that was asked under overload."""
    statuses = Counter(each.status for each in asked)
    ratio, token_ratio = (busy[key] / calm[key] for key in ("answer_p99", "token_p99"))
    ok = ratio <= ACCEPT and token_ratio <= ACCEPT and set(statuses) == {200, 429}
    return {
        "name": "overload", "unit": "s",
        "value": round(busy["answer_p99"], 4), "baseline": round(calm["answer_p99"], 4),
        "ratio": round(ratio, 3), "accept": f"<= {ACCEPT:g}, also between tokens; else 429 with Retry-After",
        "ok": ok and all(each.complete for each in asked), "token_ratio": round(token_ratio, 3),
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
    }  # fmt: skip


def main() -> int:
    """Measure, print both loads and the JSON line. Returns 0 when it is accepted."""
    bundle = find_bundle()
    if bundle is None:
        print(json.dumps({"name": "overload", "skipped": "there is no bundle yet: metroline run speeches"}))
        return 0
    dice = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        environment = {"BENTOML_HOME": f"{folder}/home"}
        with start(bundle, port=0, log=Path(folder) / "log", environment=environment, tied=True) as server:
            server.wait_ready()
            model = httpx.get(f"{server.url}/v1/models", timeout=10, trust_env=False).json()["data"][0]

            def body() -> dict[str, Any]:
                prompt = [dice.randrange(1, model["vocab_size"]) for _ in range(dice.randrange(8, 65))]
                tokens = min(dice.randrange(64, 129), model["max_tokens"])
                return {"prompt": prompt, "max_tokens": tokens, "ignore_eos": True}

            slots = Settings.from_environment().slots
            begun = time.perf_counter()
            calm = at_capacity(Crowd(server.url, body), slots, WARM + SECONDS)
            inside = [each for each in calm if each.ended and begun + WARM <= each.ended <= begun + WARM + SECONDS]
            rate = len(inside) / SECONDS
            begun_busy = time.perf_counter()
            busy = at_rate(Crowd(server.url, body), TIMES * rate, WARM + SECONDS, dice)
    found = {"capacity": summary(calm, begun + WARM), "overload": summary(busy, begun_busy + WARM)}
    for name, times in found.items():
        print(f"{name}: {json.dumps({key: round(value, 5) for key, value in times.items()})}", flush=True)
    line = verdict(found["capacity"], found["overload"], busy)
    print(json.dumps(line | {"model": model["id"], "requests_per_second": round(rate, 1)}))
    return 0 if line["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
