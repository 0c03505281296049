"""The log: what was acknowledged is there once, after kills, damage and a full disk; and no more than its bounds."""

import asyncio
import os
import queue
import random
import signal
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import pytest

from base.segments import FRAME, LARGEST, WAITING, Log, prune, read

ROOT = Path(__file__).resolve().parents[2]
WRITER = """
import sys, threading
from pathlib import Path
from base.segments import Log
log, name = Log(Path(sys.argv[1]), most_bytes=1 << 22), sys.argv[2]
print("begin", flush=True)
def say(number):
    return lambda done: print(number, flush=True)  # the record is on the disk
def write(thread):
    for number in range(10**9):
        log.append(f"{name}-{thread}-{number}".encode() + b" x" * (number % 50)).add_done_callback(
            say(f"{name}-{thread}-{number}"))
        if number % 8 == 7:
            log.append(b"pad").result()
for thread in range(3):
    threading.Thread(target=write, args=(thread,)).start()
"""


def names(folder):
    return [record.split()[0].decode() for record in read(folder) if record != b"pad"]


def test_killed_at_random_points_nothing_acknowledged_is_lost_or_doubled(tmp_path):
    draw, acknowledged = random.Random(7), []
    for number in range(20):
        command = [sys.executable, "-c", WRITER, str(tmp_path), f"run{number}"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "begin\n"
            time.sleep(draw.uniform(0, 0.05))
            os.kill(process.pid, signal.SIGKILL)
            said = process.stdout.read()
        whole = said[: said.rfind("\n") + 1]
        acknowledged += whole.split()
    found = names(tmp_path)
    assert len(acknowledged) > 200
    assert len(found) == len(set(found))
    assert set(acknowledged) <= set(found)


def test_in_order_and_whole(tmp_path):
    records = [os.urandom(size) for size in (0, 1, 100_000, 7)]
    with Log(tmp_path) as log:
        for record in records:
            log.append(record)
    with Log(tmp_path) as log:
        log.append(b"later").result()
        assert list(read(tmp_path)) == [*records, b"later"]
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


@pytest.mark.parametrize("damage", [
    lambda data: data[:-1], lambda data: data[: FRAME.size - 1], lambda data: data[:-3] + b"?" + data[-2:],
    lambda data: FRAME.pack(LARGEST + 1, 0), lambda data: struct.pack("<I", 4) + data[4:],
])  # fmt: skip
def test_what_is_damaged_ends_its_segment_alone(tmp_path, damage):
    for number in range(2):
        with Log(tmp_path) as log:
            log.append(b"first %d" % number).result()
            log.append(b"second %d" % number).result()
        time.sleep(0.002)
    path = sorted(tmp_path.glob("*.log"))[0]
    first, second = path.read_bytes()[: FRAME.size + 7], path.read_bytes()[FRAME.size + 7 :]
    path.write_bytes(first + damage(second))
    assert list(read(tmp_path)) == [b"first 0", b"first 1", b"second 1"]


def test_a_full_disk_is_said_and_leaves_what_was_there(tmp_path, full_disk):
    with Log(tmp_path) as log:
        log.append(b"before").result()
        with full_disk(1000), pytest.raises(OSError, match="File too large"):
            log.append(b"x" * 5000).result()
        log.append(b"after").result()
        assert list(read(tmp_path)) == [b"before", b"after"]


def test_too_large_a_record(tmp_path):
    with Log(tmp_path) as log, pytest.raises(ValueError, match="a record of"):
        log.append(bytes(LARGEST + 1))


def test_a_caller_who_stops_waiting_does_not_end_the_log(tmp_path):
    async def given_up(log):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.wrap_future(log.append(b"first"))

    with Log(tmp_path) as log:
        asyncio.run(given_up(log))
        log.append(b"second").result(10)
        assert list(read(tmp_path)) == [b"first", b"second"]


def test_a_segment_that_another_writer_removed(tmp_path):
    with Log(tmp_path) as log:
        log.append(b"first").result()
        assert prune(tmp_path, 0, 3600)
        log.append(b"second").result()
        assert list(read(tmp_path)) == [b"second"]


def test_what_waits_is_bounded_in_bytes(tmp_path, monkeypatch):
    go_on = threading.Event()
    sync = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda file: (go_on.wait(30), sync(file)))
    with Log(tmp_path) as log:
        try:
            taken = [log.append(bytes(LARGEST)) for _ in range(WAITING // LARGEST)]
            with pytest.raises(queue.Full):
                log.append(b"x")
        finally:
            go_on.set()
        for done in taken:
            done.result(60)
        log.append(b"x").result(10)


def test_bounds_of_size_and_age(tmp_path):
    with Log(tmp_path, most_bytes=16_000) as log:
        for number in range(200):
            log.append(b"%04d" % number + bytes(396)).result()
    kept = [int(record[:4]) for record in read(tmp_path)]
    assert sum(path.stat().st_size for path in tmp_path.glob("*.log")) <= 16_000
    assert kept == list(range(200 - len(kept), 200))
    assert len(kept) > 20
    old = sorted(tmp_path.glob("*.log"))[:3]
    for path in old:
        os.utime(path, (0, 0))
    assert prune(tmp_path, 1 << 30, 3600) == old


def test_thousands_a_second(tmp_path):
    with Log(tmp_path) as log:
        log.append(b"first").result()
        began, futures = time.monotonic(), list[Future[None]]()
        for _ in range(5000):
            futures.append(log.append(bytes(300)))
        for done in futures:
            done.result()
        assert time.monotonic() - began < 5  # measured below 0.1 s; the machine may be busy
