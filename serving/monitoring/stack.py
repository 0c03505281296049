"""Prometheus and node-exporter without containers, on loopback, until Ctrl-C.

    python -m serving.monitoring.stack                  # beside `metroline serve`; then look at http://127.0.0.1:9090
    python -m serving.monitoring.stack --endpoint http://127.0.0.1:3100 --port 9191
    python -m serving.monitoring.stack --receiver http://127.0.0.1:9095     # an Alertmanager too, for `metroline watch`

It starts the programs (Debian packages prometheus, prometheus-node-exporter, prometheus-alertmanager) with the
arguments of compose.yaml and the configurations of prometheus.yml and alertmanager.yml; only addresses and folders
differ. Grafana is not started: compose.yaml does that.
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
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO
from urllib.parse import urlsplit

import httpx
import yaml

from base.errors import MetrolineError, exit_with
from base.files import write_text
from base.processes import end_with_parent, free_port
from serving.monitoring.alerting import alertmanager_configuration
from serving.monitoring.promql import ALERTS, FOLDER, Prometheus

PROGRAMS = {
    "prometheus": ("prometheus",),
    "node-exporter": ("prometheus-node-exporter", "node_exporter"),
    "alertmanager": ("prometheus-alertmanager", "alertmanager"),
}
"""Service in compose.yaml → names that its program goes by."""
INSTALL = "prometheus prometheus-node-exporter prometheus-alertmanager"
"""The Debian packages."""


def find(service: str) -> str:
    """The path of a service's program. Raises MetrolineError when it is not installed."""
    for name in PROGRAMS[service]:
        found = shutil.which(name)
        if found:
            return found
    names = " or ".join(PROGRAMS[service])
    raise MetrolineError(f"{names} is not installed", hint=f"apt-get install {INSTALL}")


def command(service: str, replaced: Mapping[str, str]) -> list[str]:
    """What compose.yaml starts a service with, some parts of the arguments replaced."""
    arguments = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))["services"][service]["command"]
    for here, there in replaced.items():
        arguments = [argument.replace(here, there) for argument in arguments]
    return [find(service), *arguments]


def configuration(addresses: Mapping[str, str], seconds: int | None = None, rules: Path = ALERTS) -> str:
    """prometheus.yml with other addresses (job name → host:port) and perhaps scraping every so many `seconds`.

    Without an address for `alertmanager` alerts are not sent.
    """
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    config["rule_files"] = [str(rules)]
    if "alertmanager" in addresses:
        config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [addresses["alertmanager"]]}]}]
    else:
        del config["alerting"]
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


@dataclass(frozen=True)
class Receiver:
    """Where `metroline watch` listens, and the file with its key."""

    url: str
    key: Path


class Stack:
    """A running Prometheus that scrapes an endpoint and the training runs below a folder. Use as a context manager."""

    def __init__(
        self, endpoint: str, artifacts: Path, data: Path, *,
        port: int = 0, seconds: int | None = None, receiver: Receiver | None = None, rules: Path = ALERTS,
    ) -> None:  # fmt: skip
        """Nothing is started yet.

        Args:
            endpoint: URL of the serving process.
            artifacts: folder with RECIPE/training/metrics.prom.
            data: folder that Prometheus keeps its series in.
            port: Prometheus' own; 0: any free one.
            seconds: between scrapes, and between an Alertmanager's notifications; default: what the files say.
            receiver: who is told of alerts, by an Alertmanager that is started too.
            rules: other rules than alerts.yml.

        Raises MetrolineError: an endpoint that is no http URL, a port in use, a program that is not installed, no key.
        """
        target = host_and_port(endpoint)
        port, exporter = free_port("127.0.0.1", port), free_port("127.0.0.1", 0)
        self.prometheus = Prometheus(f"http://127.0.0.1:{port}")
        self._folder = data
        self._lock: IO[str] | None = None
        self._running: list[subprocess.Popen[bytes]] = []
        addresses = {"metroline": target, "training": f"127.0.0.1:{exporter}", "prometheus": f"127.0.0.1:{port}"}
        self._configs: dict[str, str] = {}
        if receiver is not None:
            host_and_port(receiver.url)
            self._configs["alertmanager.yml"] = alertmanager_configuration(receiver.url, receiver.key, seconds)
            addresses["alertmanager"] = f"127.0.0.1:{free_port('127.0.0.1', 0)}"
        self._configs["prometheus.yml"] = configuration(addresses, seconds, rules.resolve())
        self._ready_urls = [f"http://{addresses[name]}/-/ready" for name in ("prometheus", "alertmanager")
                            if name in addresses]  # fmt: skip
        series = {"/etc/prometheus/": f"{data.resolve()}/", "=/prometheus": f"={data.resolve()}/series"}
        self._commands = {
            "node-exporter": command(
                "node-exporter", {"/artifacts": f"{artifacts.resolve()}", ":9100": f":{exporter}"}
            ),
            "prometheus": command("prometheus", {**series, ":9090": f":{port}"}),
        }
        if receiver is not None:
            own = {"/etc/alertmanager/": f"{data.resolve()}/", "=/alertmanager": f"={data.resolve()}/alertmanager"}
            own["127.0.0.1:9093"] = addresses["alertmanager"]
            self._commands["alertmanager"] = command("alertmanager", own)

    def __enter__(self) -> "Stack":
        """Start all and wait until they answer.

        Raises MetrolineError: another one uses the same folder, or one of them ends at once.
        """
        self._take_folder()
        for name, text in self._configs.items():
            write_text(self._folder / name, text)
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
                problem = f"{ended} ended" if ended else "they did not answer within 30 s"
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
            return all(httpx.get(url, trust_env=False).status_code == 200 for url in self._ready_urls)
        except httpx.TransportError:
            return False

    def ended(self) -> str | None:
        """The name of a program that is no longer running."""
        pairs = zip(self._commands, self._running, strict=False)
        return next((name for name, process in pairs if process.poll() is not None), None)

    def stop(self) -> None:
        """End all; Prometheus writes its series to disk first."""
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
    parser.add_argument("--receiver", metavar="URL", help="of `metroline watch`: an Alertmanager tells it of drift")
    parser.add_argument("--key", type=Path, default=Path(".metroline/watch/key"), help="default: %(default)s")
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
    receiver = Receiver(options.receiver, options.key) if options.receiver else None
    with Stack(options.endpoint, options.artifacts, options.data, port=options.port, receiver=receiver) as stack:
        print(
            f"Prometheus: {stack.prometheus.url}   alerts: {stack.prometheus.url}/alerts   Ctrl-C ends it", flush=True
        )
        while not finish.wait(1):
            if ended := stack.ended():
                raise MetrolineError(f"{ended} ended: see the logs in {options.data}")
    return 0


if __name__ == "__main__":
    exit_with(main)
