"""Prometheus and node-exporter without containers, on loopback, until Ctrl-C.

    python -m serving.monitoring.stack                  # beside `metroline serve`; then look at http://127.0.0.1:9090
    python -m serving.monitoring.stack --endpoint http://127.0.0.1:3100 --port 9191

It starts the two programs (Debian packages prometheus, prometheus-node-exporter) with the arguments of compose.yaml and
the configuration of prometheus.yml; only addresses and folders differ. Grafana is not started: compose.yaml does that.
"""

import argparse
import fcntl
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO
from urllib.parse import urlsplit

import httpx
import yaml

from base.errors import MetrolineError, exit_with
from base.files import write_text
from base.processes import end_with_parent, free_port
from serving.monitoring.promql import FOLDER, Prometheus

PROGRAMS = {"prometheus": ("prometheus",), "node-exporter": ("prometheus-node-exporter", "node_exporter")}
"""Service in compose.yaml → names that its program goes by."""


def find(service: str) -> str:
    """The path of a service's program. Raises MetrolineError when it is not installed."""
    for name in PROGRAMS[service]:
        found = shutil.which(name)
        if found:
            return found
    names = " or ".join(PROGRAMS[service])
    raise MetrolineError(f"{names} is not installed", hint="apt-get install prometheus prometheus-node-exporter")


def command(service: str, replaced: Mapping[str, str]) -> list[str]:
    """What compose.yaml starts a service with, some parts of the arguments replaced."""
    arguments = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))["services"][service]["command"]
    for here, there in replaced.items():
        arguments = [argument.replace(here, there) for argument in arguments]
    return [find(service), *arguments]


def configuration(addresses: Mapping[str, str], seconds: int | None = None) -> str:
    """prometheus.yml with other addresses (job name → host:port) and perhaps scraping every so many `seconds`."""
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    config["rule_files"] = [str(FOLDER / name) for name in config["rule_files"]]
    if seconds is not None:
        config["global"] = dict.fromkeys(config["global"], f"{seconds}s")
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": [addresses[job["job_name"]]]}]
    return yaml.safe_dump(config)


def host_and_port(url: str) -> str:
    """`http://host:port` → `host:port`. Raises MetrolineError for anything else."""
    with suppress(ValueError):  # brackets without an end, a port that is no number
        parts = urlsplit(url)
        if parts.scheme == "http" and parts.hostname and parts.path in ("", "/") and parts.port != 0:
            return parts.netloc
    raise MetrolineError(f"{url!r} is not an endpoint's address", hint="as in http://127.0.0.1:3000")


class Stack:
    """A running Prometheus that scrapes an endpoint and the training runs below a folder. Use as a context manager."""

    def __init__(
        self, endpoint: str, artifacts: Path, data: Path, *, port: int = 0, seconds: int | None = None
    ) -> None:
        """Nothing is started yet.

        Args:
            endpoint: URL of the serving process.
            artifacts: folder with RECIPE/training/metrics.prom.
            data: folder that Prometheus keeps its series in.
            port: Prometheus' own; 0: any free one.
            seconds: between scrapes; default: what prometheus.yml says.

        Raises MetrolineError: an endpoint that is no http URL, a port in use, a program that is not installed.
        """
        target = host_and_port(endpoint)
        port, exporter = free_port("127.0.0.1", port), free_port("127.0.0.1", 0)
        self.prometheus = Prometheus(f"http://127.0.0.1:{port}")
        self._folder = data
        self._lock: IO[str] | None = None
        self._running: list[subprocess.Popen[bytes]] = []
        addresses = {"metroline": target, "training": f"127.0.0.1:{exporter}", "prometheus": f"127.0.0.1:{port}"}
        self._config = configuration(addresses, seconds)
        series = {"/etc/prometheus/": f"{data.resolve()}/", "=/prometheus": f"={data.resolve()}/series"}
        self._commands = {
            "node-exporter": command(
                "node-exporter", {"/artifacts": f"{artifacts.resolve()}", ":9100": f":{exporter}"}
            ),
            "prometheus": command("prometheus", {**series, ":9090": f":{port}"}),
        }

    def __enter__(self) -> "Stack":
        """Start both and wait until Prometheus answers.

        Raises MetrolineError: another one uses the same folder, or one of the two ends at once.
        """
        self._take_folder()
        write_text(self._folder / "prometheus.yml", self._config)
        for name, arguments in self._commands.items():
            with (self._folder / f"{name}.log").open("wb") as log:
                process = subprocess.Popen(
                    arguments,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is for this process, which then ends them
                    preexec_fn=end_with_parent,
                )
                self._running.append(process)
        deadline = time.monotonic() + 30
        while not self._ready():
            ended = self.ended()
            if ended or time.monotonic() > deadline:
                self.stop()
                problem = f"{ended} ended" if ended else "Prometheus did not answer within 30 s"
                raise MetrolineError(f"{problem}: see the logs in {self._folder}")
            time.sleep(0.1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _take_folder(self) -> None:
        """Two Prometheus on one folder would spoil each other's series; Debian's does not look for another."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self._folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise MetrolineError(f"another Prometheus uses {self._folder}", hint="choose one with --data") from None

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.prometheus.url}/-/ready", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def ended(self) -> str | None:
        """The name of a program that is no longer running."""
        pairs = zip(self._commands, self._running, strict=False)
        return next((name for name, process in pairs if process.poll() is not None), None)

    def stop(self) -> None:
        """End both; Prometheus writes its series to disk first."""
        for process in self._running:
            process.terminate()
        for process in self._running:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._lock is not None:
            self._lock.close()


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.monitoring.stack",
        description="Prometheus and node-exporter without containers, on loopback, until Ctrl-C.",
    )
    parser.add_argument("--endpoint", default="http://127.0.0.1:3000", metavar="URL", help="default: %(default)s")
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="default: %(default)s")
    parser.add_argument("--port", type=int, default=9090, help="of Prometheus; 0: any free one (default: %(default)s)")
    parser.add_argument("--data", type=Path, default=Path(".metroline/prometheus"), help="default: %(default)s")
    options = parser.parse_args(arguments)
    if not 0 <= options.port < 65536:
        raise MetrolineError(f"--port {options.port} is not a number from 0 to 65535")
    finish = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: finish.set())
    signal.signal(signal.SIGINT, lambda *_: finish.set())
    with Stack(options.endpoint, options.artifacts, options.data, port=options.port) as stack:
        print(
            f"Prometheus: {stack.prometheus.url}   alerts: {stack.prometheus.url}/alerts   Ctrl-C ends it", flush=True
        )
        while not finish.wait(1):
            if ended := stack.ended():
                raise MetrolineError(f"{ended} ended: see the logs in {options.data}")
    return 0


if __name__ == "__main__":
    exit_with(main)
