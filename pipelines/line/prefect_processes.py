"""Prefect's server and worker as processes below this one: started, waited for, and ended as a whole.

They live in sessions of their own, so that Ctrl-C reaches this process alone, which then ends them in order; should it
be killed, they end too (Linux). What they are for is pipelines/line/schedule.py's and pipelines/line/run.py's.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil

from base.errors import MetrolineError
from base.files import read_json, write_json
from base.processes import end_with_parent, free_port, stop_group

LOGS = Path(".metroline/prefect")
NOTE = LOGS / "server.json"
WORKER = LOGS / "worker.json"
OTHERS = ("PREFECT_SERVER_API_AUTH_STRING", "PREFECT_SERVER_API_BASE_PATH")
"""Settings of a server that the user runs; nobody would find, or get into, one on this machine that had them too."""
HEARTBEAT = 30
"""Seconds between a run's heartbeats; Prefect allows no fewer."""


def answers(url: str, *, remote: bool = False) -> bool:
    """Whether a Prefect server answers at this API address; `remote`: through proxies, as Prefect's client would."""
    with suppress(httpx.HTTPError, httpx.InvalidURL):
        return httpx.get(f"{url}/health", timeout=2, trust_env=remote).status_code == 200
    return False


def users_server() -> str | None:
    """PREFECT_API_URL, if it is set. Raises MetrolineError when no server answers there."""
    url = os.environ.get("PREFECT_API_URL")
    if url and not answers(url, remote=True):
        hint = "start it, or unset the variable and one is started here"
        raise MetrolineError(f"no Prefect server answers at PREFECT_API_URL={url}", hint=hint)
    return url or None


def local_server(root: Path) -> str | None:
    """The API address of the server that this project's `metroline schedule` runs now, if one does."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        url = str(read_json(root / NOTE)["url"])
        return url if answers(url) else None
    return None


@contextmanager
def background(command: list[str], log: Path, environment: dict[str, str]) -> "Iterator[subprocess.Popen[bytes]]":
    """Run a Prefect command as a process group of its own, its output in `log`; at the end the whole group ends.

    Raises MetrolineError when the log cannot be written.
    """
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        output = log.open("wb")
    except OSError as error:
        hint = "another user's? then remove it"
        raise MetrolineError(f"{log} cannot be written: {error.strerror}", hint=hint) from None
    with output:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", *command], env=environment, stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            preexec_fn=end_with_parent,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()  # it ends its own children in order
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=90)
        stop_group(process.pid, grace=0)
        process.wait()


@contextmanager
def server(root: Path, port: int, *options: str, wait: float = 90) -> "Iterator[tuple[str, subprocess.Popen[bytes]]]":
    """A Prefect server on this machine with its database below .metroline/; yields its API address and its process."""
    url, log = f"http://127.0.0.1:{port}/api", root / LOGS / "server.log"
    command = ["server", "start", "--host", "127.0.0.1", "--port", str(port), *options]
    with background(command, log, {name: value for name, value in os.environ.items() if name not in OTHERS}) as process:
        deadline = time.monotonic() + wait
        while not answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise MetrolineError(f"the Prefect server did not come up on port {port}", hint=f"see {log}")
            time.sleep(0.1)
        yield url, process


@contextmanager
def shared_server(root: Path, port: int) -> "Iterator[tuple[str, subprocess.Popen[bytes]]]":
    """As `server`, and other commands of this project use it while it runs."""
    with server(root, port) as (url, process):
        write_json(root / NOTE, {"url": url})
        try:
            yield url, process
        finally:
            (root / NOTE).unlink(missing_ok=True)


@contextmanager
def server_for_a_run(root: Path) -> Iterator[str]:
    """The API address to run one flow against: PREFECT_API_URL, a server of this project, or one just for this run.

    Prefect could start one by itself, but that one would be in this process's group: Ctrl-C would end it first, and
    then nothing could be reported any more. Raises MetrolineError.
    """
    if url := users_server() or local_server(root):
        yield url
    else:
        with server(root, free_port(), "--no-ui") as (url, _):
            yield url


@contextmanager
def worker(root: Path, url: str, pool: str) -> "Iterator[subprocess.Popen[bytes]]":
    """A worker of the pool. Its runs send heartbeats, so that one that was killed is noticed."""
    command = ["worker", "start", "--pool", pool, "--type", "process"]
    variables = {"PREFECT_API_URL": url, "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT)}
    with background(command, root / LOGS / "worker.log", {**os.environ, **variables}) as process:
        write_json(root / WORKER, {"pid": process.pid, "url": url})
        try:
            yield process
        finally:
            (root / WORKER).unlink(missing_ok=True)


def local_worker(root: Path, url: str) -> bool:
    """Whether another `metroline schedule` of this project runs a worker for the server at `url`."""
    with suppress(OSError, ValueError, LookupError, TypeError, psutil.Error):
        note = read_json(root / WORKER)
        return note["url"] == url and "worker" in psutil.Process(note["pid"]).cmdline()
    return False


def stay(processes: dict[str, "subprocess.Popen[bytes]"], sleep: Callable[[float], None] = time.sleep) -> None:
    """Return at Ctrl-C or SIGTERM. Raises MetrolineError when one of the processes ends by itself."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        while True:
            for name, process in processes.items():
                if process.poll() is not None:
                    raise MetrolineError(
                        f"the {name} ended with exit code {process.returncode}",
                        hint=f"see .metroline/prefect/{name}.log",
                    )
            sleep(0.5)
