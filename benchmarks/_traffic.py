"""Clients that go on asking while something is changed behind the address: what they were answered, and when."""

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import httpx


@dataclass
class Sent:
    """What became of the requests."""

    seconds: list[tuple[float, float]] = field(default_factory=list)
    """Of each answer with 200: when it was asked (time.monotonic), how long it took."""
    lost: list[str] = field(default_factory=list)
    """Every other one, in words."""


class Traffic:
    """So many clients, each of which asks again as soon as it has its answer and has paused. A context manager."""

    def __init__(
        self, url: str, path: str, clients: int, body: Callable[[], dict[str, Any]], pause: float = 0.0
    ) -> None:
        """`body` gives the next request's JSON; it may be exchanged while the clients ask."""
        self.body, self.sent = body, Sent()
        self._url, self._path, self._clients, self._pause = url, path, clients, pause
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    async def _run(self) -> None:
        limits = httpx.Limits(max_connections=self._clients, max_keepalive_connections=self._clients)
        async with httpx.AsyncClient(base_url=self._url, timeout=60, trust_env=False, limits=limits) as client:
            await asyncio.gather(*(self._ask(client) for _ in range(self._clients)))

    async def _ask(self, client: httpx.AsyncClient) -> None:
        while not self._over.is_set():
            body, began = self.body(), time.monotonic()
            try:
                answer = await client.post(self._path, json=body)
            except httpx.HTTPError as error:
                self.sent.lost.append(f"{type(error).__name__}: {error}")
            else:
                if answer.status_code == 200:
                    self.sent.seconds.append((began, time.monotonic() - began))
                else:
                    self.sent.lost.append(f"{answer.status_code}: {answer.text[:200]}")
            await asyncio.sleep(self._pause)
