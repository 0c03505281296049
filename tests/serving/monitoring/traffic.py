"""Real requests of every kind that the dashboards show, sent to a running endpoint for some seconds."""

import threading
import time
from collections import Counter
from collections.abc import Callable

import httpx

PROMPTS = [
    "the people of the united states",
    "the state of the union and the government",
    "of the people, by the people",
]


class Traffic:
    """A few clients in threads. Afterwards `sent` says how often each status came back."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.sent: Counter[str] = Counter()
        self.cancelled = 0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        clients = (self.complete, self.complete, self.stream, self.mistake, self.leave, self.linger)
        self._threads = [threading.Thread(target=self._loop, args=(client,), daemon=True) for client in clients]

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=30)

    def _loop(self, client: Callable[[httpx.Client, int], None]) -> None:
        with httpx.Client(base_url=self.url, timeout=20, trust_env=False) as http:
            turn = 0
            while not self._stop.is_set():
                client(http, turn)
                turn += 1
                time.sleep(0.05)

    def count(self, status: int) -> None:
        with self._lock:
            self.sent[str(status)] += 1

    def complete(self, http: httpx.Client, turn: int) -> None:
        """An answer in one piece."""
        body = {"prompt": PROMPTS[turn % len(PROMPTS)], "max_tokens": 8, "seed": turn}
        self.count(http.post("/v1/completions", json=body).status_code)

    def stream(self, http: httpx.Client, turn: int) -> None:
        """A streamed answer, read to its end."""
        body = {"prompt": PROMPTS[turn % len(PROMPTS)], "max_tokens": 16, "seed": turn, "stream": True}
        with http.stream("POST", "/v1/completions", json=body) as answer:
            for _ in answer.iter_lines():
                pass
        self.count(answer.status_code)

    def mistake(self, http: httpx.Client, turn: int) -> None:
        """A bad request, an unknown path, or a plain look at the models."""
        if turn % 3 == 0:
            self.count(http.post("/v1/completions", json={"prompt": "x", "max_tokens": -1}).status_code)
        else:
            self.count(http.get("/v1/models" if turn % 3 == 1 else f"/no/such/{turn}").status_code)

    def leave(self, http: httpx.Client, turn: int) -> None:
        """A stream whose client goes away after the first line."""
        body = {"prompt": PROMPTS[0], "max_tokens": 200, "stream": True, "ignore_eos": True}
        with http.stream("POST", "/v1/completions", json=body) as answer:
            if answer.status_code == 200:
                next(answer.iter_lines())
                self.cancelled += 1

    def linger(self, http: httpx.Client, turn: int) -> None:
        """More work than the endpoint's deadline allows: it ends with 504, and fills the queue meanwhile."""
        body = {"prompt": PROMPTS, "n": 5, "max_tokens": 200, "ignore_eos": True}
        self.count(http.post("/v1/completions", json=body).status_code)
        time.sleep(1)
