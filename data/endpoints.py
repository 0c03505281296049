"""Which endpoints run on this machine: a note per server process, so that a new release can reach them.

    <BENTOML_HOME>/metroline/endpoints/<process number>.json     {"model": "speeches", "pid": 17, "url": "http://..."}

The endpoint writes its note (serving/run.py) and takes SIGUSR1 as "serve what is live now"; the line's deployment
(pipelines/deployment.py) reads the notes and sends the signal.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from data.files import read_json, write_json

RELOAD = signal.SIGUSR1
"""Not SIGHUP: that still means that the terminal was closed."""


@dataclass(frozen=True)
class Endpoint:
    """A server that serves the live release of `model`."""

    pid: int
    model: str
    url: str

    def reload(self) -> None:
        """Make it serve what is live now; requests that run are finished by the old workers."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, RELOAD)


@contextmanager
def announced(home: Path, model: str, url: str) -> Iterator[None]:
    """While inside, this process's note is there."""
    note = _folder(home) / f"{os.getpid()}.json"
    write_json(note, asdict(Endpoint(os.getpid(), model, url)))
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def endpoints(home: Path, model: str) -> list[Endpoint]:
    """The endpoints of a model that run now. Notes of processes that were killed are removed."""
    found = []
    for note in sorted(_folder(home).glob("*.json")):
        with suppress(OSError, ValueError, TypeError, KeyError):
            endpoint = Endpoint(**read_json(note))
            if not _runs(endpoint.pid):
                note.unlink(missing_ok=True)
            elif endpoint.model == model:
                found.append(endpoint)
    return found


def _runs(pid: int) -> bool:
    """Whether the process is there and, where that can be seen, is an endpoint: process numbers are used again."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with suppress(OSError):
        return b"serving.run" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return True


def _folder(home: Path) -> Path:
    return home / "metroline" / "endpoints"
