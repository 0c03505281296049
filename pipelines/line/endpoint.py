"""The endpoint as another process: how it is started, whether it answers.

`serving` is not imported (the two folders are independent of each other): it is a command and an HTTP address.
"""

import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from base.children import python
from base.endpoints import authorization
from base.errors import MetrolineError
from base.processes import stop_group
from pipelines.recipe.load import unknown_recipe

LOG = Path(".metroline/endpoint.log")


def command(
    recipes: Sequence[str], bundles: Sequence[Path], host: str, port: int, workers: int, root: Path
) -> list[str]:
    """The command line that serves live releases of recipes, or folders. Raises MetrolineError unless it is one."""
    if bool(recipes) == bool(bundles):
        raise MetrolineError("name either a recipe or --bundle FOLDER", hint="metroline serve speeches")
    from pipelines.recipe.load import names

    for recipe in recipes:
        if recipe not in names(root):
            raise unknown_recipe(recipe, root)
    what = [*map(str, bundles), *(word for recipe in recipes for word in ("--model", recipe))]
    return python("serving.app.run", *what, "--host", host, "--port", str(port), "--workers", str(workers))


class Served:
    """An endpoint that this process starts for a recipe's live release, and ends when the `with` block ends."""

    def __init__(self, recipe: str, root: Path, port: int) -> None:
        self.recipe, self.root, self.port = recipe, root, port
        self.url, self.log = f"http://127.0.0.1:{port}", root / LOG
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Served":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.stop()

    def start(self, wait: float = 60) -> None:
        """Start, or start anew, and return when it is ready. Raises MetrolineError with its last words."""
        self.stop()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                command([self.recipe], [], "127.0.0.1", self.port, 1, self.root), stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + wait
        while not is_ready(self.url):
            if self._process.poll() is not None or time.monotonic() > deadline:
                words = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
                said = f": {' / '.join(words).removeprefix('error: ')}" if words else ""
                raise MetrolineError(f"the endpoint of {self.recipe} did not come up{said}", hint=f"see {LOG}")
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


def served(url: str) -> dict[str, Any] | None:
    """What `/v1/models` says about the model there; None where nothing (or something else) answers."""
    with suppress(httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError):
        model = httpx.get(f"{url}/v1/models", headers=authorization(url), timeout=2, trust_env=False).json()["data"][0]
        return dict(model)
    return None
