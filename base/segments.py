"""An append-only log of records that survives a kill: what was acknowledged is there, once.

    with Log(folder) as log:
        log.append(b"...").result()      # returns when the record is on the disk
    for record in read(folder): ...

A record is a frame: its length and CRC-32 (both little-endian uint32), then its bytes. A writer has segments of its
own, `<milliseconds>-<process>-<number>.log`, and never goes on with one that it did not begin; so a frame that a kill
cut off is the last one of its file, and readers stop there. Records that wait go to the disk together, with one
fdatasync (group commit). The oldest segments are removed beyond `most_bytes` or `most_seconds`, by any writer; the one
whose segment it was begins another.
"""

import os
import queue
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from types import TracebackType

FRAME = struct.Struct("<II")
LARGEST = 64 << 20
"""Bytes of one record, at most: a length beyond it is damage."""
TOGETHER = 4096
"""Records in one write, at most."""
WAITING = 256 << 20
"""Bytes of records that may wait for the disk, at most."""


class Log:
    """Appends to the log in a folder, from any thread; a thread of its own writes. Close it at the end."""

    def __init__(
        self, folder: Path, *, most_bytes: int = 1 << 30, most_seconds: float = 30 * 86400, waiting: int = 65536
    ) -> None:
        """`waiting`: records that may wait for the disk. Raises OSError where the folder cannot be made."""
        self.folder, self._most_bytes, self._most_seconds = folder, most_bytes, most_seconds
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._queue: queue.Queue[tuple[bytes, Future[None]] | None] = queue.Queue(waiting)
        self._lock, self._waiting = threading.Lock(), 0
        self._file: int | None = None
        self._size, self._began, self._number, self._idle = 0, 0.0, 0, 600.0
        prune(folder, most_bytes, most_seconds)
        self._thread = threading.Thread(target=self._work, name="metroline-log", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Log":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(self, record: bytes) -> "Future[None]":
        """Queue a record. The future is done when it is on the disk, or has the OSError that kept it from there.

        Nobody can cancel it. Raises queue.Full when as many wait as may, ValueError for a record that is too large.
        """
        if len(record) > LARGEST:
            raise ValueError(f"a record of {len(record)} bytes")
        done: Future[None] = Future()
        done.set_running_or_notify_cancel()
        with self._lock:
            if self._waiting + len(record) > WAITING:
                raise queue.Full
            self._queue.put_nowait((record, done))
            self._waiting += len(record)
        return done

    def close(self) -> None:
        """Write what waits, and end."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while True:
            try:
                batch = [self._queue.get(timeout=self._idle)]
            except queue.Empty:  # records grow old also when none comes
                self._leave()
                with suppress(OSError):  # the next writer of a segment tries again
                    prune(self.folder, self._most_bytes, self._most_seconds)
                continue
            while len(batch) < TOGETHER and batch[-1] is not None:
                try:
                    batch.append(self._queue.get_nowait())
                except queue.Empty:
                    break
            records = [each for each in batch if each is not None]
            if records:
                self._write(records)
                with self._lock:
                    self._waiting -= sum(len(record) for record, _ in records)
            if batch[-1] is None:
                self._leave()
                return

    def _write(self, batch: "list[tuple[bytes, Future[None]]]") -> None:
        frames = b"".join(FRAME.pack(len(record), zlib.crc32(record)) + record for record, _ in batch)
        try:
            file = self._segment()
            view = memoryview(frames)
            while view:
                view = view[os.write(file, view) :]
            os.fdatasync(file)
        except OSError as error:
            self._leave(cut=True)
            for _, done in batch:
                done.set_exception(error)
            return
        self._size += len(frames)
        for _, done in batch:
            done.set_result(None)

    def _segment(self) -> int:
        """The file to append to: a new one at the start, after a failure, and where the last is large, old or gone."""
        now = time.time()
        if (
            self._file is not None
            and self._size < self._most_bytes // 16
            and now - self._began < 3600
            and os.fstat(self._file).st_nlink
        ):
            return self._file
        self._leave()
        prune(self.folder, self._most_bytes - self._most_bytes // 16, self._most_seconds)
        self._number += 1
        path = self.folder / f"{int(now * 1000):013d}-{os.getpid()}-{self._number:06d}.log"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._size, self._began = 0, now
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)  # the file's name is on the disk too
        finally:
            os.close(folder)
        return self._file

    def _leave(self, *, cut: bool = False) -> None:
        """Close the segment; `cut`: take what a failed write has left off its end."""
        if self._file is None:
            return
        file, self._file = self._file, None
        if cut:
            with suppress(OSError):  # readers stop at a frame that is not whole
                os.ftruncate(file, self._size)
        with suppress(OSError):
            os.close(file)


def read(folder: Path) -> Iterator[bytes]:
    """All whole records of a log, segment by segment in the order of their beginning; also while it is written to."""
    for path in sorted(folder.glob("*.log")):
        try:
            file = path.open("rb")
        except FileNotFoundError:  # it was removed meanwhile
            continue
        with file:
            while len(head := file.read(FRAME.size)) == FRAME.size:
                length, crc = FRAME.unpack(head)
                if length > LARGEST:
                    break
                record = file.read(length)
                if len(record) < length or zlib.crc32(record) != crc:
                    break
                yield record


def prune(folder: Path, most_bytes: int, most_seconds: float) -> list[Path]:
    """Remove the oldest segments until the others fit, and all that nothing was added to for `most_seconds`."""
    found = []
    for path in sorted(folder.glob("*.log")):
        try:
            found.append((path, path.stat()))
        except FileNotFoundError:
            continue
    total, removed = sum(stat.st_size for _, stat in found), []
    for path, stat in found:
        if total > most_bytes or time.time() - stat.st_mtime > most_seconds:
            path.unlink(missing_ok=True)
            total -= stat.st_size
            removed.append(path)
    return removed
