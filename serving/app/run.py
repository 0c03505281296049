"""Start the endpoint as a child process, know when it is ready, and end it cleanly.

    python -m serving.app.run artifacts/speeches/bundle        # until Ctrl-C; `metroline serve speeches` is the same

    with start(bundle, port=0) as server:                                             # in the background
        server.wait_ready()
        httpx.post(f"{server.url}/v1/completions", json={...})

The server itself is `serving/app/service.py`, run by BentoML.
"""

import argparse
import ipaddress
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO

import httpx

from base.children import python
from base.endpoints import RELOAD, announced
from base.errors import MetrolineError
from base.processes import end_with_parent, free_port
from serving.app import tracing
from serving.bundle import SEALS, locate, seals
from serving.http.keys import key_file
from serving.http.settings import Settings
from serving.runtime.bundles import load_all
from serving.store import STORE

ROOT = Path(__file__).resolve().parents[2]
"""Where `serving` can be imported from."""
STARTING = 300.0
"""Seconds in which `run` wants its models loaded: on a machine that is busy that takes a while."""
QUIET = {"BENTOML_DO_NOT_TRACK": "True", "DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1"}


class Server:
    """A running server, stopped at the end of its context. `folder`: what its processes share till then."""

    def __init__(
        self, process: subprocess.Popen[bytes], url: str, log: Path | None, folder: Path, drain: float, key: str
    ) -> None:
        self.process, self.url, self.log, self.key = process, url, log, key
        self.folder, self._drain = folder, drain

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        self.stop()

    def wait_ready(self, seconds: float = 60.0) -> None:
        """Return when all models are loaded.

        Raises MetrolineError when the server ends, cannot load one, or is not ready in time.
        """
        deadline = time.monotonic() + seconds
        while True:
            if self.process.poll() is not None:
                raise MetrolineError(f"the server ended with exit code {self.process.returncode}{self._last_lines()}")
            with suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/readyz", timeout=2, trust_env=False).status_code == 200:
                    return
                if httpx.get(f"{self.url}/livez", timeout=2, trust_env=False).status_code != 200:
                    raise MetrolineError(f"the server cannot load its model; its log says why{self._last_lines()}")
            if time.monotonic() > deadline:
                raise MetrolineError(f"the server at {self.url} was not ready after {seconds:g} s{self._last_lines()}")
            time.sleep(0.05)

    def reload(self) -> None:
        """Replace the workers by new ones, which take the then live release; no request is lost."""
        self.process.send_signal(signal.SIGHUP)

    def stop(self) -> int:
        """SIGTERM, let running requests finish, and kill what is left after the drain. Returns the exit code."""
        give_up = time.monotonic() + self._drain + 15
        while self.process.poll() is None and time.monotonic() < give_up:
            # Again each few seconds: BentoML's supervisor loses a signal that comes while it is starting workers.
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=5)
        return self.kill()

    def kill(self) -> int:
        """End every process of the server at once. Returns the exit code."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        return self.process.returncode

    def _last_lines(self) -> str:
        if self.log is None or not self.log.is_file():
            return ""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return "\n" + "\n".join(lines[-5:]) if lines else ""


def start(
    *bundles: Path,
    models: Sequence[str] = (),
    host: str = "127.0.0.1",
    port: int = 3000,
    workers: int = 1,
    log: Path | None = None,
    environment: dict[str, str] | None = None,
    tied: bool = False,
) -> Server:
    """Start a server and return at once.

    Args:
        bundles: folders to serve, each a model that requests pick by name; or
        models: recipes whose live releases are served, and again looked up on `reload`.
        host: IP address or `localhost`.
        port: 0: any free one.
        workers: processes, each with its own copy of the model.
        log: file for its output; default: this process's own output.
        environment: more variables, such as METROLINE_PRECISION.
        tied: end the server when the calling thread ends, however it ends (Linux only).

    Raises MetrolineError: no bundle or a damaged one, bundles and models, a setting that makes no sense, a port in use,
    an address that other machines reach without there being API keys, nowhere to put temporary files.
    """
    child = {**os.environ, **QUIET, **(environment or {}), "METROLINE_WORKERS": str(workers)}
    child.setdefault("BENTOML_HOME", str(Path(".metroline/bentoml").resolve()))
    child.pop("PYTHONOPTIMIZE", None)  # BentoML's process manager reads its own docstrings
    for name in ("METROLINE_BUNDLES", "METROLINE_MODELS", STORE):
        child.pop(name, None)
    if bundles and models:
        raise MetrolineError("both bundles and models are given", hint="a server takes either")
    if bundles:
        child["METROLINE_BUNDLES"] = json.dumps([str(bundle.resolve()) for bundle in bundles])
    elif models:
        child["METROLINE_MODELS"] = ",".join(models)
    else:
        raise MetrolineError("nothing to serve: neither a bundle nor a model is given")
    settings = Settings.from_environment(child)
    tracing.check(settings.traces)
    child[SEALS] = seals(load_all(locate(child), settings.precision, settings.trust))
    host = "127.0.0.1" if host == "localhost" else host
    _check_keys(host, settings, child)
    port = free_port(host, port)
    child["METROLINE_LINE_KEY"] = secrets.token_urlsafe(32)
    folder = _shared_folder()
    child["METROLINE_METRICS_FOLDER"] = str(folder)
    child |= {STORE: child["BENTOML_HOME"], "BENTOML_HOME": str(folder / "bentoml")}  # the store may be read-only
    command = python("bentoml", "serve", "--quiet", "serving.app.service:Metroline",
                     "--host", host, "--port", str(port), "--working-dir", str(ROOT),
                     "--timeout-keep-alive", str(settings.keep_alive))  # fmt: skip
    output: IO[bytes] | None = log.open("wb") if log else None
    try:
        process = subprocess.Popen(
            command, cwd=ROOT, env=child, stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT if output else None,
            start_new_session=True,  # Ctrl-C reaches this process alone, which then ends the server in order
            preexec_fn=end_with_parent if tied and sys.platform == "linux" else None,
        )  # fmt: skip
    finally:
        if output:
            output.close()
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    url = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"
    return Server(process, url, log, folder, settings.drain, child["METROLINE_LINE_KEY"])


def _shared_folder() -> Path:
    """A new folder for what the server's processes share. Raises MetrolineError."""
    try:
        return Path(tempfile.mkdtemp(prefix="metroline-metrics-"))
    except OSError as error:
        hint = "TMPDIR may name a folder that can be written"
        raise MetrolineError(f"no temporary folder can be made: {error.strerror}", hint=hint) from None


def _check_keys(host: str, settings: Settings, environment: Mapping[str, str]) -> None:
    """Raise MetrolineError where other machines could use the endpoint without anybody having said so."""
    try:
        addresses = {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
    except OSError:
        return  # no address at all; listening there says so
    loopback = all(ipaddress.ip_address(address).is_loopback for address in addresses)
    if settings.auth == "auto" and not loopback and not key_file(environment).exists():
        hint = "metroline keys add NAME makes one; METROLINE_AUTH=off lets everybody in"
        raise MetrolineError(f"{host} is open to other machines, but there are no API keys", hint=hint)


def run(bundles: Sequence[Path], models: Sequence[str], host: str, port: int, workers: int) -> int:
    """Serve in the foreground until Ctrl-C, SIGTERM or the terminal's end; a second one waits for no running request.

    With `models`, new releases reach it while it runs: see base/endpoints.py. Returns the exit code: 0 after any of
    these. Raises MetrolineError as `start` does.
    """
    server = start(*bundles, models=models, host=host, port=port, workers=workers, tied=True)
    # SIGHUP: the terminal was closed. Whoever has it ignored (nohup) wants to go on then.
    ends = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) != signal.SIG_IGN]
    before = {each: signal.signal(each, _interrupt) for each in ends}
    try:
        server.wait_ready(STARTING)
        with ExitStack() as note:
            if models:
                signal.signal(RELOAD, lambda number, frame: server.reload())
            home = Path(os.environ.get("BENTOML_HOME") or ".metroline/bentoml").expanduser()
            try:
                for model in models:
                    note.enter_context(announced(home, model, server.url, server.key))
            except OSError as error:
                print(f"new releases will not reach this endpoint, its store {home} cannot be written: "
                      f"{error.strerror}", file=sys.stderr, flush=True)  # fmt: skip
            print(f"serving at {server.url}, with a playground there; Ctrl-C ends it", file=sys.stderr, flush=True)
            return server.process.wait()
    except KeyboardInterrupt:
        try:
            server.stop()
        except KeyboardInterrupt:
            server.kill()
        return 0
    finally:
        server.kill()
        for number, handler in before.items():
            signal.signal(number, handler)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve folders of bundles, or with --model the live releases of recipes. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m serving.app.run", description="Serve bundles, until Ctrl-C.")
    parser.add_argument("bundles", type=Path, nargs="*", metavar="bundle", help="folder of a bundle")
    parser.add_argument("--model", action="append", default=[], help="recipe whose live release is served instead")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets other machines in")
    parser.add_argument("--port", type=int, default=3000, help="0: any free one")
    parser.add_argument("--workers", type=int, default=1, help="processes, each with its own copy of the model")
    given = parser.parse_args(arguments)
    try:
        return run(given.bundles, given.model, given.host, given.port, given.workers)
    except MetrolineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
