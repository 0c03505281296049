"""Sample traffic: requests of every kind that the dashboards show, so that there is something to see.

    python -m serving.monitoring.traffic --seconds 120      # to the endpoint of `metroline serve`

Whole answers, streams, mistakes, clients that leave, and requests for more work than is kind; for models that answer in
one call, batches of made-up inputs. It is no load test: the clients wait for their answers and pause in between. The
tests count its answers against Prometheus'.
"""

import argparse
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any

import httpx

from base.endpoints import authorization
from base.errors import MetrolineError, exit_with
from serving.monitoring import sample_inputs

PROMPTS = [
    "the people of the united states",
    "the state of the union and the government",
    "of the people, by the people",
]
SYSTEM = "You are a careful historian. You answer in one sentence."
PAUSE = 0.05
"""Seconds between two requests of one client."""


class Traffic:
    """A few clients in threads. Use as a context manager; afterwards `sent` says how often each status came back."""

    def __init__(self, url: str) -> None:
        """Ask the endpoint what it serves. Raises MetrolineError when none is there."""
        self.url = url
        self.sent: Counter[str] = Counter()
        self.cancelled = 0
        self.failure: Exception | None = None
        try:
            answer = httpx.get(f"{url}/v1/models", headers=authorization(url), timeout=30, trust_env=False)
            models = answer.raise_for_status().json()["data"]
            self.predictors = [(str(model["id"]), model["inputs"]) for model in models if model["engine"] == "forward"]
            self.indexes = [str(model["id"]) for model in models if model["engine"] == "retrieve"]
            writers = [model for model in models if model["engine"] == "decode"]
            self.most = min((int(model["max_tokens"]) for model in writers), default=1)
            self.models = [str(model["id"]) for model in writers]
            self.chats = [str(model["id"]) for model in writers if model.get("chat")]
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError) as error:
            raise MetrolineError(f"no endpoint at {url}: {error}", hint="metroline serve starts one") from None
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._dice = random.Random(0)
        clients: list[Callable[[httpx.Client, int], None]] = [self.mistake]
        if self.models:
            clients += [self.complete, self.complete, self.stream, self.leave, self.linger]
        if self.chats:
            clients.append(self.talk)
        if self.predictors:
            clients.append(self.predict)
        if self.indexes:
            clients.append(self.search)
        if self.indexes and self.chats:
            clients.append(self.cite)
        self._threads = [threading.Thread(target=self._loop, args=(client,), daemon=True) for client in clients]

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=60)

    def wait(self, seconds: float) -> None:
        """Let it go on for a while. Raises MetrolineError when the endpoint went away meanwhile."""
        if self._stop.wait(seconds) and self.failure:
            raise MetrolineError(f"the endpoint at {self.url} went away: {self.failure}")

    def _loop(self, client: Callable[[httpx.Client, int], None]) -> None:
        with httpx.Client(base_url=self.url, headers=authorization(self.url), timeout=150, trust_env=False) as http:
            turn = 0
            try:
                while not self._stop.wait(PAUSE):
                    client(http, turn)
                    turn += 1
            except httpx.TransportError as error:
                self.failure = error
                self._stop.set()

    def _count(self, status: int) -> None:
        with self._lock:
            self.sent[str(status)] += 1

    def _post(self, http: httpx.Client, **body: Any) -> None:
        self._count(http.post("/v1/completions", json=body).status_code)

    def complete(self, http: httpx.Client, turn: int) -> None:
        """An answer in one piece."""
        model, prompt = self.models[turn % len(self.models)], PROMPTS[turn % len(PROMPTS)]
        self._post(http, model=model, prompt=prompt, max_tokens=min(8, self.most), seed=turn)

    def talk(self, http: httpx.Client, turn: int) -> None:
        """A chat; all of them share a system message, which the cache then holds."""
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": PROMPTS[turn % len(PROMPTS)]}]
        body = {"model": self.chats[turn % len(self.chats)], "messages": messages, "max_tokens": min(16, self.most)}
        self._count(http.post("/v1/chat/completions", json=body).status_code)

    def stream(self, http: httpx.Client, turn: int) -> None:
        """A streamed answer, read to its end."""
        prompt = PROMPTS[turn % len(PROMPTS)]
        body = {"model": self.models[0], "prompt": prompt, "max_tokens": min(16, self.most), "seed": turn}
        with http.stream("POST", "/v1/completions", json={**body, "stream": True}) as answer:
            for _ in answer.iter_lines():
                pass
        self._count(answer.status_code)

    def predict(self, http: httpx.Client, turn: int) -> None:
        """A batch of 1 to 8 made-up inputs, each model in its turn."""
        name, inputs = self.predictors[turn % len(self.predictors)]
        items = [sample_inputs.item(inputs, self._dice) for _ in range(self._dice.choice((1, 2, 4, 8)))]
        self._count(http.post(f"/v1/models/{name}/predict", json={"inputs": items}).status_code)

    def search(self, http: httpx.Client, turn: int) -> None:
        """A search of each index in its turn, by every mode; now and then for words that no document has."""
        query = "xylophone" if turn % 5 == 4 else PROMPTS[turn % len(PROMPTS)]
        mode = ("hybrid", "vector", "text")[turn % 3]
        body = {"model": self.indexes[turn % len(self.indexes)], "query": query, "mode": mode}
        self._count(http.post("/v1/search", json=body).status_code)

    def cite(self, http: httpx.Client, turn: int) -> None:
        """A chat that answers from an index."""
        messages = [{"role": "user", "content": PROMPTS[turn % len(PROMPTS)]}]
        body = {"model": self.chats[turn % len(self.chats)], "messages": messages, "max_tokens": min(16, self.most),
                "sources": self.indexes[turn % len(self.indexes)]}  # fmt: skip
        self._count(http.post("/v1/chat/completions", json=body).status_code)

    def mistake(self, http: httpx.Client, turn: int) -> None:
        """A bad request, an unknown path, or a plain look at the models."""
        if turn % 3 == 0:
            self._post(http, prompt="x", max_tokens=-1)
        else:
            self._count(http.get("/v1/models" if turn % 3 == 1 else f"/no/such/{turn}").status_code)
        self._stop.wait(10 * PAUSE)  # most of what comes is right

    def leave(self, http: httpx.Client, turn: int) -> None:
        """A stream whose client goes away after the first line."""
        body = {"model": self.models[0], "prompt": PROMPTS[0], "max_tokens": self.most, "ignore_eos": True}
        with http.stream("POST", "/v1/completions", json={**body, "stream": True}) as answer:
            if answer.status_code == 200:
                next(answer.iter_lines(), None)
                self.cancelled += 1
            else:
                self._count(answer.status_code)
        self._stop.wait(10 * PAUSE)

    def linger(self, http: httpx.Client, turn: int) -> None:
        """As much work as one request may ask for: it fills the queue, and may run into the endpoint's deadline."""
        self._post(http, model=self.models[0], prompt=PROMPTS, n=5, max_tokens=self.most, ignore_eos=True)
        self._stop.wait(1)


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns the exit status."""
    about = "Send sample traffic of every kind to an endpoint, so that its dashboard has something to show."
    parser = argparse.ArgumentParser(prog="python -m serving.monitoring.traffic", description=about)
    parser.add_argument("--endpoint", default="http://127.0.0.1:3000", metavar="URL", help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=60, help="for how long (default: %(default)s)")
    options = parser.parse_args(arguments)
    if not 0 < options.seconds < 1e6:
        raise MetrolineError(f"--seconds {options.seconds:g}: must be above 0")
    started = time.monotonic()
    with Traffic(options.endpoint.rstrip("/")) as traffic:
        traffic.wait(options.seconds)
    statuses = ", ".join(f"{count} × {status}" for status, count in sorted(traffic.sent.items()))
    print(f"in {time.monotonic() - started:.0f} s: {statuses}, and {traffic.cancelled} streams left early")
    return 0


if __name__ == "__main__":
    exit_with(main)
