"""A client that costs next to nothing, for `serving.py`: it notes when the events of streams arrive.

One thread, plain sockets, nothing parsed before the end: on a machine of two cores whatever the client does is taken
from what is to be measured. Reading each event by itself would wake it sixteen times a step, which costs the server's
core more than the event; so after each look at its sockets it rests for REST seconds, and an event may be noted so
much late. An event that carries text begins with `data: {`; the server closes a connection after its answer.
"""

import json
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

EVENT, END = b"data: {", b"data: [DONE]"
REST = 0.0005


@dataclass
class Answer:
    """When each event of one stream came, in seconds of `time.perf_counter`; `sent`: when it was asked for."""

    sent: float = 0.0
    events: list[float] = field(default_factory=list)


def streams(url: str, bodies: Sequence[dict[str, Any]], timeout: float = 120.0) -> list[Answer]:
    """Send all requests at once and read their streams to the end. Raises RuntimeError when one is not answered."""
    address = urlsplit(url)
    host, port = address.hostname or "127.0.0.1", address.port or 80
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nConnection: close\r\n"
    requests = [json.dumps({**body, "stream": True}).encode() for body in bodies]
    connections = {}
    sent = []
    for data in requests:
        connection = socket.create_connection((host, port), timeout)
        sent.append(time.perf_counter())
        connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        connections[connection.fileno()] = connection
    try:
        pieces = _read(connections, time.monotonic() + timeout)
    finally:
        for connection in connections.values():
            connection.close()
    return [_answer(start, pieces[number]) for start, number in zip(sent, connections, strict=True)]


def _read(connections: dict[int, socket.socket], until: float) -> dict[int, list[tuple[float, bytes]]]:
    """What came from each connection, by its number, and when; until the server has closed all of them."""
    pieces: dict[int, list[tuple[float, bytes]]] = {number: [] for number in connections}
    poll = select.poll()
    for number in connections:
        poll.register(number, select.POLLIN)
    left = len(connections)
    while left:
        if time.monotonic() > until:
            raise RuntimeError(f"{left} of {len(connections)} streams did not end in time")
        for number, _ in poll.poll(1000):
            data = connections[number].recv(1 << 16)
            pieces[number].append((time.perf_counter(), data))
            if not data:
                poll.unregister(number)
                left -= 1
        time.sleep(REST)
    return pieces


def _answer(sent: float, pieces: Sequence[tuple[float, bytes]]) -> Answer:
    """The events among what one connection gave. Raises RuntimeError when it is not a whole stream."""
    answer, text, rest = Answer(sent), b"".join(data for _, data in pieces), b""
    for moment, data in pieces:
        lines = rest + data
        answer.events += [moment] * lines.count(EVENT)
        rest = lines[lines.rfind(b"\n") + 1 :].replace(EVENT, b"")
    if not answer.events or END not in text:
        raise RuntimeError(f"a request was not answered: {text[:300]!r}")
    return answer


def together(answers: Sequence[Answer]) -> tuple[float, list[float]]:
    """While all streams ran: events per second of all of them, and the seconds between events of each."""
    begin, end = max(answer.events[0] for answer in answers), min(answer.events[-1] for answer in answers)
    inside = [[moment for moment in answer.events if begin <= moment <= end] for answer in answers]
    gaps = [after - before for moments in inside for before, after in pairwise(moments)]
    return sum(len(moments) - 1 for moments in inside) / (end - begin), gaps
