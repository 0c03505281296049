"""`metroline watch RECIPE...`: a receiver of alerts, and the Prefect server and worker that its runs need.

It registers a deployment for each recipe (a schedule that it has stays), then listens until Ctrl-C.
"""

import subprocess
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from base.errors import MetrolineError
from base.processes import free_port
from base.writable import check_writable
from pipelines.line.dvc import check_recipe
from pipelines.line.prefect_api import client
from pipelines.line.prefect_processes import stay
from pipelines.line.schedule import FLOW, register, start_server, start_worker
from pipelines.line.watch.key import shared_key
from pipelines.line.watch.receiver import application
from pipelines.line.watch.retraining import Limits, Retraining

if TYPE_CHECKING:
    from prefect.client.schemas.schedules import SCHEDULE_TYPES


def watch(
    root: Path, recipes: list[str], limits: Limits, key: Path, *, host: str, port: int, prefect_port: int
) -> None:
    """Listen until Ctrl-C. Raises MetrolineError: bad recipes, limits or key, a port that is taken."""
    for recipe in recipes:
        check_recipe(recipe)
    if not (limits.minutes > 0 and limits.quiet >= 0):
        raise MetrolineError("--minutes-a-day must be above 0, and --debounce not below it")
    check_writable(root)
    secret, port = shared_key(root / key), free_port(host, port)
    with ExitStack() as stack:
        processes: dict[str, subprocess.Popen[bytes]] = {}
        url = start_server(stack, root, prefect_port, processes)
        for recipe in recipes:
            register(url, recipe, _schedule(url, recipe), root)
        start_worker(stack, root, url, processes)
        retraining = Retraining(url, tuple(recipes), limits)
        server = uvicorn.Server(
            uvicorn.Config(
                application(retraining, secret, lambda line: print(line, flush=True)),
                host=host, port=port, log_level="warning", access_log=False, timeout_graceful_shutdown=5,
            )
        )  # fmt: skip
        listener = threading.Thread(target=server.run, name="metroline-watch", daemon=True)
        listener.start()
        address = f"[{host}]" if ":" in host else host
        print(f"alerts of {', '.join(recipes)}: http://{address}:{port}/alerts, with the key in {key}", flush=True)
        try:
            stay(processes)
        finally:
            server.should_exit = True
            listener.join(timeout=10)


def _schedule(url: str, recipe: str) -> "SCHEDULE_TYPES | None":
    """The schedule that the recipe's deployment has: to be watched does not end it."""
    from prefect.exceptions import ObjectNotFound

    with client(url) as prefect:
        try:
            there = prefect.read_deployment_by_name(f"{FLOW}/{recipe}").schedules
        except ObjectNotFound:
            return None
    return there[0].schedule if there else None
