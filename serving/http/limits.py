"""Rate limits: token buckets that all workers of a server share, one small file for each caller.

A bucket holds as much as is allowed in a minute and fills evenly. It counts requests, or tokens of prompts and answers;
what they are worth to whom is said in access.py.
"""

import fcntl
import math
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BUCKET = struct.Struct("dd")
"""(level, seconds of the monotonic clock, which the processes of a machine share)"""


class Buckets:
    """The buckets of one caller, by number. A new one is full."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self, bucket: int, amount: float, per_minute: float) -> int:
        """Take `amount` (at most `per_minute`) out. Returns 0, or after how many seconds (≥ 1) there will be enough."""
        with self._locked():
            level = self._level(bucket, per_minute)
            if amount > level:
                return max(1, math.ceil((amount - level) * 60 / per_minute))
            self._write(bucket, level - amount)
        return 0

    def give(self, bucket: int, amount: float, per_minute: float) -> None:
        """Put back what was taken and not used."""
        with self._locked():
            self._write(bucket, min(per_minute, self._level(bucket, per_minute) + amount))

    def left(self, bucket: int, per_minute: float) -> int:
        """What is in it now."""
        with self._locked():
            return int(self._level(bucket, per_minute))

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """For microseconds: nothing is awaited inside."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def _level(self, bucket: int, per_minute: float) -> float:
        raw = os.pread(self._file, _BUCKET.size, bucket * _BUCKET.size)
        if len(raw) < _BUCKET.size or not any(raw):
            return per_minute
        level, then = _BUCKET.unpack(raw)
        return float(min(per_minute, level + max(0.0, time.monotonic() - then) * per_minute / 60))

    def _write(self, bucket: int, level: float) -> None:
        os.pwrite(self._file, _BUCKET.pack(level, time.monotonic()), bucket * _BUCKET.size)
