"""Clients that do not read what they are sent: nothing of theirs stays; those that only read slowly lose nothing."""

import asyncio
import json
import socket
import time

import psutil
import pytest

from serving.http.slow_clients import PIECE, Patience
from serving.http.stream import ClientGoneError
from tests.serving import chat_bundle
from tests.serving.clients import metric

BODY = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 3000, "n": 4, "temperature": 0,
        "logprobs": True, "top_logprobs": 20}  # fmt: skip
"""Some 20 MB: more than the sockets of both sides hold."""


@pytest.fixture(scope="module")
def victim(tmp_path_factory, serve):
    folder = chat_bundle.build(tmp_path_factory.mktemp("slow") / "bundle", context=8192, max_tokens=8000)
    return serve(folder, send_seconds="1", deadline="60", queue="64")


def ask(server, body: dict) -> socket.socket:
    """A connection with a small receive buffer that has sent its request."""
    host, port = server.url.removeprefix("http://").split(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(20)
    connection.connect((host, int(port)))
    raw = json.dumps(body).encode()
    connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                       + f"Content-Length: {len(raw)}\r\n\r\n".encode() + raw)  # fmt: skip
    return connection


def test_a_client_that_reads_nothing_is_cut_off(victim):
    """Generation ends, its connections are given up, and what they had unread is out of the log's and memory's way."""
    (worker,) = [each for each in psutil.Process(victim.process.pid).children(recursive=True)
                 if "_bentoml_impl.worker.service" in " ".join(each.cmdline())]  # fmt: skip
    before = metric(victim, "metroline_cancelled_total")
    connections = [ask(victim, BODY | {"stream": True}) for _ in range(3)]
    deadline = time.monotonic() + 40
    while metric(victim, "metroline_cancelled_total") < before + 3 or metric(victim, "metroline_active_streams"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert metric(victim, "metroline_kv_tokens_used") == 0
    lines = [json.loads(line) for line in victim.log.read_text().splitlines() if line.startswith("{")]
    assert sum(bool(line.get("client_gone")) for line in lines) == 3
    assert not [line for line in lines if line["level"] == "error"]
    read = 0
    try:  # what the sockets had taken comes, and then the end instead of the rest
        while data := connections[0].recv(1 << 20):
            read += len(data)
    except ConnectionError:
        pass
    assert read < 16 << 20
    for connection in connections:
        connection.close()
    assert worker.is_running()


def test_a_long_answer_in_one_piece_is_given_up_too(victim):
    with ask(victim, BODY):
        deadline = time.monotonic() + 40
        while True:
            lines = [json.loads(line) for line in victim.log.read_text().splitlines() if '"stream": false' in line]
            if lines:
                break
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert lines[-1].get("client_gone")


def test_a_slow_reader_gets_everything():
    """Longer than the limit for all of it, but never as long for one part."""

    async def main() -> None:
        taken: list[dict] = []

        async def slowly(message: dict) -> None:
            await asyncio.sleep(0.02)
            taken.append(message)

        async def work(send) -> None:
            for number in range(20):
                await send({"type": "http.response.body", "body": b"%d" % number, "more_body": number < 19})

        await Patience(0.2).run(work, slowly)
        assert [int(message["body"]) for message in taken] == list(range(20))

    asyncio.run(main())


async def stuck(message: dict) -> None:
    await asyncio.Event().wait()


def test_a_message_that_is_not_taken():
    async def main() -> None:
        patience, ended = Patience(0.05), []

        async def work(send) -> None:
            try:
                await send({"type": "http.response.body", "body": b"x"})
            finally:
                ended.append(True)

        async with asyncio.timeout(5):
            with pytest.raises(ClientGoneError):
                await patience.run(work, stuck)
            assert ended == [True]
            await asyncio.sleep(0)  # the task itself was not cancelled
            task = asyncio.ensure_future(Patience(60).run(work, stuck))
            await asyncio.sleep(0.01)
            task.cancel()  # by somebody else
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.sleep(0.1)
            assert patience._timer is None  # nothing runs while there are no answers

    asyncio.run(main())


def test_work_that_takes_long_before_it_sends_is_left_alone():
    async def main() -> None:
        sent = []

        async def keep(message: dict) -> None:
            sent.append(message)

        async def work(send) -> None:
            await asyncio.sleep(0.2)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await asyncio.sleep(0.2)
            await send({"type": "http.response.body", "body": b"x" * (2 * PIECE + 1), "more_body": False})

        await Patience(0.05).run(work, keep)
        assert [len(each.get("body", b"")) for each in sent] == [0, PIECE, PIECE, 1]
        assert [each.get("more_body") for each in sent] == [None, True, True, False]

    asyncio.run(main())
