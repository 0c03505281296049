"""Map a function over a stream with worker processes: results in order, a bounded number of items in memory.

Not multiprocessing's own `imap`, which reads its whole input ahead. The function must be importable (a module's own).
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from base.errors import MetrolineError

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 2  # items per worker that are read before their results are asked for


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor | None]:
    """A pool of processes, or None for one worker: then `ordered_map` works in this process."""
    if workers <= 1:
        yield None
        return
    # Never a plain fork: a progress bar's thread may hold a lock at that moment, and the child would wait for ever. Nor
    # forkserver: its socket lies in TMPDIR, whose path may be too long for one.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start)
    try:
        yield pool
    except BrokenProcessPool:
        raise MetrolineError("a worker process died, probably for lack of memory", hint="use fewer workers") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def ordered_map(
    pool: ProcessPoolExecutor | None, function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[tuple[Item, Result]]:
    """(item, function(item)) in the order of `items`, of which at most `AHEAD` a worker are in memory."""
    if pool is None:
        for item in items:
            yield item, function(item)
        return
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    for item in items:
        waiting.append((item, pool.submit(function, item)))
        if len(waiting) > AHEAD * workers:
            first, future = waiting.popleft()
            yield first, future.result()
    while waiting:
        first, future = waiting.popleft()
        yield first, future.result()


def _start() -> None:
    """In each worker: leave Ctrl-C to the parent, use one thread, and end when the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    parent = multiprocessing.parent_process()
    if parent is not None:

        def follow() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()
