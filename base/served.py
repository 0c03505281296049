"""The endpoint as another process, by its command line: started, waited for, ended.

    with Served(python("serving.app.run", "BUNDLE", "--port", "3000"), "http://127.0.0.1:3000", Path("log")) as served:
        served.start()

It is a command and an HTTP address: no code of it is imported.
"""

import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import httpx

from base.errors import MetrolineError
from base.processes import stop_group


class Served:
    """An endpoint that this process starts, and ends when the `with` block ends."""

    def __init__(self, command: Sequence[str], url: str, log: Path, what: str = "these bundles") -> None:
        """`what`: whose endpoint it is, for messages."""
        self.url, self.log, self._command, self._what = url, log, command, what
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.stop()

    def start(self, wait: float = 60) -> None:
        """Start, or start anew, and return when it is ready. Raises MetrolineError with its last words."""
        self.stop()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        deadline = time.monotonic() + wait
        while not is_ready(self.url):
            if self._process.poll() is not None or time.monotonic() > deadline:
                words = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
                said = f": {' / '.join(words).removeprefix('error: ')}" if words else ""
                raise MetrolineError(f"the endpoint of {self._what} did not come up{said}", hint=f"see {self.log}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End it with all its workers; requests that run get its own time to finish."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.terminate()
        try:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=40)
        finally:
            stop_group(process.pid, grace=0)
            process.wait()


def is_ready(url: str) -> bool:
    """Whether an endpoint at this address would answer a request."""
    with suppress(httpx.HTTPError, httpx.InvalidURL):
        return httpx.get(f"{url}/readyz", timeout=2, trust_env=False).status_code == 200
    return False
