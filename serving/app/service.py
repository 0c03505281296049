"""The BentoML service. It owns the process: workers, /livez, /readyz, /metrics, start and end.

    METROLINE_BUNDLES=artifacts/speeches/bundle python -m bentoml serve serving.app.service:Metroline
    metroline serve speeches                                     # the same, with checks and a clean Ctrl-C

The parent process imports this module too, so nothing heavy is imported at its top.
"""

import os
import sys
from contextlib import suppress
from typing import Any

import bentoml
from _bentoml_sdk import Service

from base.errors import MetrolineError
from serving.app import tracing
from serving.app.guard import Guard, Receive, Scope, Send, restore_path
from serving.app.lifecycle import Lifecycle
from serving.app.processes import supervise
from serving.http.settings import Settings
from serving.runtime import kept
from serving.runtime.memory import keep_no_memory, release_memory
from serving.runtime.runtime import Runtime

keep_no_memory()
settings = Settings.from_environment()
runtime = Runtime()
lifecycle = Lifecycle(runtime)

if folder := os.environ.get("METROLINE_METRICS_FOLDER"):
    # BentoML keeps metrics below BENTOML_HOME, where two servers would wipe out each other's.
    from bentoml._internal.configuration.containers import BentoMLContainer

    BentoMLContainer.prometheus_multiproc_dir.set(folder)


class GuardedService(Service):
    """A BentoML service whose workers answer our routes beside BentoML's middleware, not through it."""

    def to_asgi(self, is_main: bool = True) -> Any:
        """The ASGI app of a worker: BentoML's for the probes, /metrics, start and end, ours for all else.

        BentoML's middleware costs more than a small model, counts every path that a client makes up, and its time limit
        keeps all of a request in memory until it has passed (1.4.39: the timer is never cancelled).
        """
        routes = tracing.traced(restore_path(api), settings.traces)
        return Guard(super().to_asgi(is_main), routes, runtime, settings.send_seconds)


async def api(scope: Scope, receive: Receive, send: Send) -> None:
    """Our routes; FastAPI is imported when a worker starts. What it raises has been logged and answered."""
    assert lifecycle.api is not None
    with suppress(Exception):
        await lifecycle.api(scope, receive, send)


@bentoml.service(
    name="metroline",
    service_class=GuardedService,
    workers=settings.workers,
    logging={"access": {"enabled": False}},  # the guard writes one JSON line per request instead
)
class Metroline:
    """Serves one or several bundles with OpenAI's API."""

    @bentoml.on_deployment
    def check() -> None:
        """Once, in the parent, before any worker: a damaged or missing bundle ends the start with one line."""
        from serving.bundle import SEALS, locate, seals
        from serving.runtime.bundles import load_all

        try:
            tracing.check(settings.traces)
            kept.check(settings)
            os.environ[SEALS] = seals(load_all(locate(), settings.precision, settings.trust))
        except MetrolineError as error:
            print(f"metroline: {error}", file=sys.stderr, flush=True)
            raise SystemExit(1) from None
        supervise()
        release_memory()

    @bentoml.on_startup
    async def start(self) -> None:
        """In a worker: begin to load the model and take over its signals."""
        lifecycle.start(settings)

    @bentoml.on_shutdown
    async def stop(self) -> None:
        """In a worker, after its last request."""
        lifecycle.stop()

    async def __is_alive__(self) -> bool:
        return runtime.alive

    async def __is_ready__(self) -> bool:
        return runtime.ready
