"""Process housekeeping that the supervisor and its workers share."""

import logging
import os
import shutil
import signal
import tempfile
from typing import Any

from serving.http.logs import configure

log = logging.getLogger("metroline.processes")

LOOK = 0.5
"""Seconds between two looks of the supervisor at its workers."""


def supervise() -> None:
    """In the supervisor, before it starts its workers: what BentoML and circus have no setting for.

    It sees within LOOK seconds that a worker was killed, and logs by what; circus looks every 10 s, and keeps it to
    itself. (In a container BentoML leaves a killed worker to whatever runs the container.) While a reload waits for old
    workers it does not look.

    Its control sockets lie in a folder that is open to its own user alone. BentoML has them on TCP ports, through which
    any user of the machine can have circus start a command, and which it frees before circus listens there: a port
    taken in between ends the start.
    """
    from bentoml._internal.utils import circus

    configure()

    class Supervisor(circus.Arbiter):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            folder = private_folder()
            sockets = {"endpoint": f"ipc://{folder}/commands", "pubsub_endpoint": f"ipc://{folder}/events"}
            super().__init__(*arguments, **{**options, **sockets, "check_delay": LOOK})
            self.exit_stack.callback(shutil.rmtree, folder, ignore_errors=True)
            for watcher in self.watchers:
                watcher.hooks["after_reap"] = log_end

        def manage_watchers(self) -> Any:
            if self._exclusive_running_command or self._restarting:
                return None  # it has them in hand: a look in between would only end in an error in the log
            return super().manage_watchers()

    vars(circus)["Arbiter"] = Supervisor


def log_end(exit_code: int, process_pid: int, **_: Any) -> None:
    """Log that a worker ended in another way than in order. `exit_code`: that of subprocess, -N for signal N.

    In order, after it was asked to end and has drained, is 0 or the signal that asked: uvicorn raises that one again.
    """
    if exit_code not in (0, -signal.SIGTERM, -signal.SIGINT):
        how = {"signal": signal.Signals(-exit_code).name} if exit_code < 0 else {"exit_code": exit_code}
        log.error("worker ended", extra={"fields": {"pid": process_pid, **how}})


def private_folder() -> str:
    """Make a folder that is open to its own user alone, with a path short enough for sockets in it.

    It lies among the server's other files or, where TMPDIR makes those paths too long for a socket's address, in /tmp.
    """
    from zmq import IPC_PATH_MAX_LEN  # bytes: 107 on Linux, 103 on macOS

    parent = os.environ.get("METROLINE_METRICS_FOLDER") or tempfile.gettempdir()
    longest = os.fsencode(os.path.join(parent, "control-01234567", "commands"))
    return tempfile.mkdtemp(prefix="control-", dir=parent if len(longest) <= IPC_PATH_MAX_LEN else "/tmp")
