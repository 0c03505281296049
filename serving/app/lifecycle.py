"""How a worker comes up and goes down.

SIGTERM (or Ctrl-C): new requests get 503 while the running ones finish, for at most METROLINE_DRAIN seconds; then they
are ended with an error. A second Ctrl-C ends them at once. When another worker shares the port, as in a reload, this
one stops listening instead, so that no request is turned away.
"""

import asyncio
import logging
import os
import signal
import threading
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from base.processes import end_with_parent
from serving.http.logs import configure
from serving.http.settings import Settings
from serving.runtime.metrics import begin_files
from serving.runtime.runtime import Runtime

LAST_SECONDS = 5.0
"""After the drain: time for the server to close, even when a client does not read what it is sent."""

GRACE = 0.5

log = logging.getLogger("metroline.lifecycle")


class Lifecycle:
    """Start, drain and end of one worker process."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers_own: dict[int, Any] = {}
        self._hurry = asyncio.Event()
        self.api: Any = None

    def start(self, settings: Settings) -> None:
        """Load the model in the background, build the routes, take over SIGTERM and SIGINT from the HTTP server."""
        configure()
        end_with_parent()  # a supervisor that was killed cannot stop its workers
        begin_files()
        if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            _draining(os.getpid()).unlink(missing_ok=True)  # of an earlier worker with this process number
        self._settings = settings
        self._runtime.start(settings)
        from serving.app.api import build

        self.api = build(self._runtime)
        loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._servers_own[number] = signal.getsignal(number)
                loop.add_signal_handler(number, self._asked, number)

    def _asked(self, number: int) -> None:
        if not self._tasks:
            task = asyncio.ensure_future(self._drain(number))
            self._tasks.add(task)
        elif number == signal.SIGINT:
            self._hurry.set()

    async def _drain(self, number: int) -> None:
        runtime = self._runtime
        log.info("draining", extra={"fields": {"requests": runtime.requests, "seconds": self._settings.drain}})
        runtime.leaving = True
        if others_listen():
            self._stop_listening(number)
            await asyncio.sleep(GRACE)  # connections that were accepted just now still get to send their request
        else:
            runtime.draining = True
        loop = asyncio.get_running_loop()
        end = loop.time() + self._settings.drain
        while runtime.requests and loop.time() < end and not self._hurry.is_set():
            await asyncio.sleep(0.02)
        if runtime.requests:
            runtime.abort()
        last = threading.Timer(LAST_SECONDS, os._exit, (0,))
        last.daemon = True
        last.start()
        self._close(number)

    def _stop_listening(self, number: int) -> None:
        """Close this process's copy of the listening socket; uvicorn would close its connections as well."""
        server = getattr(self._servers_own.get(number), "__self__", None)
        for listener in getattr(server, "servers", []):
            listener.close()

    def _close(self, number: int) -> None:
        """Let the HTTP server do what it would have done on the signal: stop listening, finish, exit."""
        handler = self._servers_own.pop(number, None)
        self._servers_own.clear()
        if callable(handler):
            frame: FrameType | None = None
            handler(number, frame)

    def stop(self) -> None:
        """The server has closed: take this process's gauges out of the shared metrics."""
        self._runtime.kept.close()
        log.info("stopped")
        if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            from prometheus_client.multiprocess import mark_process_dead

            mark_process_dead(os.getpid())


def others_listen() -> bool:
    """Another worker of this server takes requests from the same port, and is not going down itself."""
    import psutil

    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        return False

    def listens(process: psutil.Process) -> bool:
        with suppress(psutil.Error):  # it may have ended meanwhile
            worker = "_bentoml_impl.worker.service" in process.cmdline()
            return worker and not _draining(process.pid).exists()
        return False

    try:
        _draining(os.getpid()).touch()
        return any(listens(child) for child in psutil.Process(os.getppid()).children() if child.pid != os.getpid())
    except (OSError, psutil.Error):  # the supervisor has gone, and its folder with it
        return False


def _draining(pid: int) -> Path:
    """The file by which a worker tells the others that it is going down."""
    return Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]) / f"draining-{pid}"
