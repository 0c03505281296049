"""Which endpoints run on this machine: a note per server process and model, so that a new release can reach them.

    <BENTOML_HOME>/metroline/endpoints/<process number>-<model>.json
        {"model": "speeches", "pid": 17, "url": "http://...", "key": "..."}

The endpoint writes its note (serving/app/run.py) and takes SIGUSR1 as "serve what is live now"; the line's deployment
(pipelines/line/deployment.py) reads the notes and sends the signal. With the note's key, which only this user can
read, the line may ask an endpoint that wants API keys.
"""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from base.errors import MetrolineError
from base.files import read_json, write_json

RELOAD = signal.SIGUSR1
"""Not SIGHUP: that still means that the terminal was closed."""


@dataclass(frozen=True)
class Endpoint:
    """A server that serves the live release of `model`."""

    pid: int
    model: str
    url: str
    key: str = ""

    def reload(self) -> None:
        """Make it serve what is live now; requests that run are finished by the old workers."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, RELOAD)


@contextmanager
def announced(home: Path, model: str, url: str, key: str = "") -> Iterator[None]:
    """While inside, this process's note for a model is there."""
    folder = _folder(home)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    note = folder / f"{os.getpid()}-{model}.json"
    write_json(note, asdict(Endpoint(os.getpid(), model, url, key)))
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def authorization(url: str, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Headers for a request of this user to an endpoint: METROLINE_API_KEY, else the key in its note, else none.

    Raises MetrolineError when METROLINE_API_KEY cannot be sent.
    """
    key = environment.get("METROLINE_API_KEY")
    if key and not (key.isascii() and key.isprintable()):
        hint = "a key has letters, digits, - and _; metroline keys add NAME makes one"
        raise MetrolineError("METROLINE_API_KEY is no API key", hint=hint)
    home = Path(environment.get("BENTOML_HOME") or ".metroline/bentoml").expanduser()
    for note in sorted(_folder(home).glob("*.json")) if not key else ():
        with suppress(OSError, ValueError, TypeError, KeyError):
            endpoint = Endpoint(**read_json(note))
            if endpoint.url == url.rstrip("/") and endpoint.key and _runs(endpoint.pid):
                key = endpoint.key
    return {"Authorization": f"Bearer {key}"} if key else {}


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
        return b"serving.app.run" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return True


def _folder(home: Path) -> Path:
    return home / "metroline" / "endpoints"
