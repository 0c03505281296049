"""A client that costs next to nothing, for `serving.py`: it counts the events of streams as their bytes arrive.

One thread, plain sockets: on a machine of two cores a client that parses every event would take a good part of what is
to be measured. An event that carries text begins with `data: {`; a stream ends with `data: [DONE]`.
"""

import json
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

EVENT, END = b"data: {", b"data: [DONE]"


@dataclass
class Answer:
    """When each event of one stream came, in seconds of `time.perf_counter`; `sent`: when it was asked for."""

    sent: float = 0.0
    events: list[float] = field(default_factory=list)


def streams(url: str, bodies: Sequence[dict[str, Any]], timeout: float = 120.0) -> list[Answer]:
    """Send all requests at once and read their streams to the end. Raises RuntimeError when one is not answered."""
    address = urlsplit(url)
    host, port = address.hostname or "127.0.0.1", address.port or 80
    selector = selectors.DefaultSelector()
    answers, rest = [Answer() for _ in bodies], [b"" for _ in bodies]
    for i, body in enumerate(bodies):
        data = json.dumps({**body, "stream": True}).encode()
        head = (
            f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nConnection: close\r\n"
        )
        connection = socket.create_connection((host, port), timeout)
        answers[i].sent = time.perf_counter()
        connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ, i)
    left, until = len(bodies), time.monotonic() + timeout
    while left:
        if time.monotonic() > until:
            raise RuntimeError(f"{left} of {len(bodies)} streams did not end within {timeout:g} s")
        for key, _ in selector.select(1.0):
            i, connection = key.data, key.fileobj
            assert isinstance(connection, socket.socket)
            data = connection.recv(1 << 16)
            now = time.perf_counter()
            text = rest[i] + data
            answers[i].events += [now] * text.count(EVENT)
            ended = END in text or not data
            rest[i] = text[text.rfind(b"\n") + 1 :]
            if ended:
                selector.unregister(connection)
                connection.close()
                left -= 1
                if not answers[i].events:
                    raise RuntimeError(f"a request was not answered: {text[:300]!r}")
    return answers


def together(answers: Sequence[Answer]) -> tuple[float, list[float]]:
    """While all streams ran: events per second of all of them, and the seconds between events of each."""
    begin, end = max(answer.events[0] for answer in answers), min(answer.events[-1] for answer in answers)
    inside = [[moment for moment in answer.events if begin <= moment <= end] for answer in answers]
    gaps = [after - before for moments in inside for before, after in pairwise(moments)]
    return sum(len(moments) - 1 for moments in inside) / (end - begin), gaps
