"""Schedules: a deployment of the flow on a Prefect server, a worker that runs it, and a watch for runs that died.

    metroline schedule speeches --cron "0 3 * * *"

What a deployment looks like (pool, concurrency, entry point) stands in prefect.yaml; this module fills in the recipe
and the time. The flow itself is pipelines/line/flow.py. Prefect is imported inside functions: it takes a second.

An overlapping run is cancelled (concurrency limit 1, CANCEL_NEW). A run whose process was killed sends no more
heartbeats; the automation made here marks it Crashed. Runs that alerts start: pipelines/line/watch/.
"""

import subprocess
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from base.errors import MetrolineError
from base.processes import next_free_port
from base.writable import check_writable
from base.yaml_files import read_yaml
from pipelines.line.dvc import check_recipe
from pipelines.line.prefect_api import client
from pipelines.line.prefect_processes import (
    HEARTBEAT,
    answers,
    local_server,
    local_worker,
    shared_server,
    stay,
    users_server,
    worker,
)

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.schedules import SCHEDULE_TYPES

FLOW = "line"
SILENCE = timedelta(seconds=3 * HEARTBEAT)
"""How long a run may be silent before it counts as dead."""
ZOMBIES = "metroline: a silent run has crashed"


@dataclass(frozen=True)
class Deployment:
    """The part of prefect.yaml that is the same for every recipe."""

    entrypoint: str
    pool: str
    limit: int
    collision: str
    description: str
    tags: tuple[str, ...]

    @classmethod
    def read(cls, root: Path) -> "Deployment":
        """Out of prefect.yaml's first deployment. Raises MetrolineError when a key that is needed is missing."""
        path = root / "prefect.yaml"
        contents = read_yaml(path)
        try:
            values = contents["deployments"][0]
            limit = values["concurrency_limit"]
            return cls(values["entrypoint"], values["work_pool"]["name"], limit["limit"], limit["collision_strategy"],
                       values.get("description", ""), tuple(values.get("tags", ())))  # fmt: skip
        except (LookupError, TypeError) as error:
            what = f"lacks {error}" if isinstance(error, LookupError) else " ".join(str(error).split())
            raise MetrolineError(f"{path}: {what}", hint="`git checkout prefect.yaml` brings it back") from None


def cron_schedule(cron: str, timezone: str) -> "SCHEDULE_TYPES":
    """A checked cron schedule. Raises MetrolineError."""
    from prefect.client.schemas.schedules import CronSchedule
    from pydantic import ValidationError

    try:
        return CronSchedule(cron=cron, timezone=timezone)
    except ValidationError as error:
        field = error.errors()[0]["loc"][0]
        if field == "timezone":
            raise MetrolineError(f"no time zone {timezone!r}", hint="an IANA name such as Europe/Berlin") from None
        hint = 'five fields: minute, hour, day, month, weekday; "0 3 * * *" is every night at three'
        raise MetrolineError(f"{cron!r} is not a cron schedule", hint=hint) from None


def register(
    url: str, recipe: str, schedule: "SCHEDULE_TYPES | None", root: Path, *, silence: timedelta = SILENCE
) -> "UUID":
    """Make or replace the deployment `line/RECIPE`, its pool and the zombie automation. Returns the deployment's id.

    schedule: None leaves the deployment without one; it can still be run by hand or by an alert.
    """
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
    from prefect.utilities.callables import parameter_schema

    from pipelines.line.flow import run_line

    deployment = Deployment.read(root)
    with client(url) as prefect:
        ensure_pool(prefect, deployment.pool)
        ensure_automation(prefect, silence)
        return prefect.create_deployment(
            flow_id=prefect.create_flow_from_name(FLOW),
            name=recipe,
            description=deployment.description,
            tags=list(deployment.tags),
            entrypoint=deployment.entrypoint,
            path=".",
            parameters={"recipe": recipe},
            parameter_openapi_schema=parameter_schema(run_line).model_dump_for_openapi(),
            work_pool_name=deployment.pool,
            concurrency_limit=deployment.limit,
            concurrency_options=ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy(deployment.collision)),
            pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(root)}}],
            schedules=[DeploymentScheduleCreate(schedule=schedule)] if schedule else [],
        )


def ensure_pool(prefect: "SyncPrefectClient", name: str) -> None:
    """Make the work pool unless it is there."""
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists
    from prefect.workers.process import ProcessWorker

    template = ProcessWorker.get_default_base_job_template()
    with suppress(ObjectAlreadyExists):
        prefect.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=template))


def ensure_automation(prefect: "SyncPrefectClient", silence: timedelta) -> None:
    """A run that sent a heartbeat and then, for `silence`, neither another one nor an end, is marked Crashed."""
    from prefect.automations import AutomationCore, ChangeFlowRunState, EventTrigger, Posture, ResourceSpecification
    from prefect.client.schemas.objects import StateType

    for old in prefect.read_automations_by_name(ZOMBIES):
        prefect.delete_automation(old.id)
    heartbeat = "prefect.flow-run.heartbeat"
    ends = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed", "TimedOut")}
    prefect.create_automation(
        AutomationCore(
            name=ZOMBIES,
            trigger=EventTrigger(
                after={heartbeat},
                expect={heartbeat, *ends},
                match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
                for_each={"prefect.resource.id"},
                posture=Posture.Proactive,
                threshold=1,
                within=silence,
            ),
            actions=[
                ChangeFlowRunState(
                    name="Crashed",
                    state=StateType.CRASHED,
                    message=f"no heartbeat for {silence.seconds} s",
                    force=False,
                )
            ],
        )
    )


def next_runs(url: str, deployment: "UUID", wait: float = 30) -> list[datetime]:
    """When the server will start the next runs. Raises MetrolineError when it plans none within `wait` seconds."""
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId, FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort

    only = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
    scheduled = FlowRunFilter.model_validate({"state": {"type": {"any_": ["SCHEDULED"]}}})
    with client(url) as prefect:
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline:
            runs = prefect.read_flow_runs(
                flow_run_filter=scheduled, deployment_filter=only, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=3
            )
            if runs:
                return [run.expected_start_time for run in runs if run.expected_start_time]
            time.sleep(0.5)
    raise MetrolineError(f"the Prefect server at {url} plans no runs", hint="is its scheduler service running?")


def _remove(url: str, recipe: str) -> bool:
    """Delete the deployment of a recipe with its schedule; False when there was none."""
    from prefect.exceptions import ObjectNotFound

    with client(url) as prefect:
        try:
            prefect.delete_deployment(prefect.read_deployment_by_name(f"{FLOW}/{recipe}").id)
        except ObjectNotFound:
            return False
    return True


def serve_schedule(
    root: Path,
    recipe: str | None,
    cron: str | None,
    timezone: str,
    *,
    remove: bool,
    register_only: bool,
    port: int,
) -> None:
    """The command `metroline schedule`. Raises MetrolineError; returns at Ctrl-C when it runs a server or a worker."""
    _check_arguments(recipe, cron, remove)
    check_writable(root)
    schedule = cron_schedule(cron, timezone) if cron else None
    with ExitStack() as stack:
        processes: dict[str, subprocess.Popen[bytes]] = {}
        if register_only and not (users_server() or local_server(root)):
            raise MetrolineError("no Prefect server runs", hint="leave --register-only out: it starts one")
        url = start_server(stack, root, port, processes)
        if recipe and remove:
            print(f"{recipe} is off the schedule" if _remove(url, recipe) else f"{recipe} was not on the schedule")
            return
        if recipe:
            deployment = register(url, recipe, schedule, root)
            print(f"{recipe}: {cron} ({timezone}); next runs:")
            for due in next_runs(url, deployment):
                print(f"  {due.astimezone(ZoneInfo(timezone)):%a %Y-%m-%d %H:%M %Z}")
        print(f"server {url.removesuffix('/api')}; by hand: PREFECT_API_URL={url} prefect deployment run {FLOW}/RECIPE")
        if register_only:
            return
        if not start_worker(stack, root, url, processes) and not processes:
            print("nothing more to do here")
            return
        stay(processes)


def start_server(stack: ExitStack, root: Path, port: int, processes: "dict[str, subprocess.Popen[bytes]]") -> str:
    """The API address of the server there is, or of one that is started here and ends with `stack`.

    Raises MetrolineError: the port is taken, it does not come up.
    """
    if url := users_server() or local_server(root):
        return url
    if next_free_port(port) != port:
        raise MetrolineError(f"port {port} is taken", hint=_way_out(port))
    print(f"starting a Prefect server on port {port} (its log: .metroline/prefect/server.log)", flush=True)
    url, processes["server"] = stack.enter_context(shared_server(root, port))
    return url


def start_worker(stack: ExitStack, root: Path, url: str, processes: "dict[str, subprocess.Popen[bytes]]") -> bool:
    """Start a worker that ends with `stack`, unless this project has one; says which."""
    if local_worker(root, url):
        print("a worker is running already", flush=True)
        return False
    print("a worker runs here until Ctrl-C (its log: .metroline/prefect/worker.log)", flush=True)
    processes["worker"] = stack.enter_context(worker(root, url, Deployment.read(root).pool))
    return True


def _way_out(port: int) -> str:
    """What to do about a port that is taken."""
    url = f"http://127.0.0.1:{port}/api"
    other = f", or use the Prefect server there: PREFECT_API_URL={url}" if answers(url) else ""
    return f"choose another one with --port{other}"


def _check_arguments(recipe: str | None, cron: str | None, remove: bool) -> None:
    if recipe is None and (cron or remove):
        raise MetrolineError("which recipe?", hint='metroline schedule speeches --cron "0 3 * * *"')
    if recipe is not None and not remove:
        check_recipe(recipe)
        if not cron:
            raise MetrolineError(f"when is {recipe} to run?", hint='--cron "0 3 * * *" is every night at three')
    if recipe is not None and remove and cron:
        raise MetrolineError("--cron and --remove exclude each other")
