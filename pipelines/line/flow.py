"""The Prefect flow: walk DVC's graph of one recipe and run each stage through DVC as one task.

    metroline run speeches                                    # here and now, with or without a Prefect server
    prefect deployment run line/speeches                      # on a worker: see pipelines/line/schedule.py

DVC owns what is stale; this file owns retries (network stages only), time-outs, logs and artifacts. No stage is named
here: stages and their order are DVC's. Prefect is imported by this module, pipelines/line/schedule.py and
pipelines/line/prefect_api.py, and nothing else.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.runtime import flow_run, task_run
from prefect.states import Completed

from base.delivery import DEPLOY
from base.errors import MetrolineError
from base.files import read_json
from base.progress import MARKER
from pipelines.line import delivery, deployment, environment
from pipelines.line import dvc as line
from pipelines.line.console import Reporter, describe, parse_progress
from pipelines.line.pin import pin_again
from pipelines.line.prefect_api import client
from pipelines.line.stages import STAGES
from pipelines.paths import Paths
from pipelines.recipe.gates import flatten

RETRY_DELAYS = (5.0, 30.0)
"""Seconds before the second and third try of a network stage, on top of the download's own back-off."""
DEPLOYMENT = 600.0
"""Seconds that a deployment may take, beside what a candidate's plan gives it."""
LOG_PROGRESS_EVERY = 30.0
"""Seconds between two progress lines in the run's log, where nobody watches a bar."""

_reporter: Reporter | None = None
"""Where stages are shown; None (on a worker): only in the run's log."""


@task(cache_policy=NO_CACHE, persist_result=False)
def run_stage(address: str, force: bool, name: str) -> Literal["fresh", "ran"]:
    """Run one stage through DVC, or find that it is fresh. `name`: what it is shown as."""
    if not force and line.is_fresh(address):
        get_run_logger().info("%s is fresh", address)
        if _reporter:
            _reporter.fresh(name)
        return "fresh"
    try:
        with _watching(name) as watch:
            line.run_stage(address, watch, force=force)
    except line.StageFailed as error:
        attempt = task_run.run_count or 1
        if error.temporary and attempt <= len(RETRY_DELAYS):
            _tell(f"{error}; trying again in {RETRY_DELAYS[attempt - 1]:g} s")
        raise
    return "ran"


@task(cache_policy=NO_CACHE, persist_result=False)
def report_metrics(recipe: str) -> None:
    """Put what `evaluate` measured and what was released into a table artifact of this run."""
    paths = Paths(recipe)
    for key, path in (("metrics", paths.metrics), ("release", paths.release)):
        if path.is_file():
            values: dict[str, Any] = read_json(path)
            texts = {name: value for name, value in values.items() if isinstance(value, str)}
            rows = [{"name": name, "value": value} for name, value in {**flatten(values), **texts}.items()]
            create_table_artifact(key=f"{recipe}-{key}", table=rows, description=f"`{path}`")


@task(cache_policy=NO_CACHE, persist_result=False, name="deploy", timeout_seconds=DEPLOYMENT)
def deploy(recipe: str) -> str:
    """Try a candidate where there is one; make endpoints serve the current release and ask for a completion; roll back
    when none comes."""
    try:
        with _watching("deploy") as watch:
            return deployment.deploy(recipe, watch)
    finally:
        if report := delivery.report(recipe):
            create_markdown_artifact(key=f"{recipe}-delivery", markdown=report, description="how a candidate fared")


@task(cache_policy=NO_CACHE, persist_result=False, name="pin")
def pin_data(recipe: str) -> tuple[Literal["fresh", "ran"], str]:
    """Pin the recipe's own files as they are now. Returns whether they had changed, and a line about it."""
    changed, said = pin_again(recipe)
    _tell(said)
    return "ran" if changed else "fresh", said


def _run_name() -> str:
    """`speeches`, and why it runs where somebody has said so."""
    given = flow_run.parameters
    return f"{given['recipe']}: {given['reason']}" if given.get("reason") else str(given["recipe"])


@flow(name="line", flow_run_name=_run_name, persist_result=False)
def run_line(
    recipe: str,
    force: list[str] | None = None,
    pin: bool = False,
    minutes: float | None = None,
    reason: str = "",
    how: str | None = None,
) -> Any:
    """Bring one recipe's whole line up to date.

    Args:
        recipe: a recipe of pipelines/recipes/.
        force: stages to run though they are fresh, such as ["train"].
        pin: first pin the recipe's own files as they are now (`metroline init NAME --data PATH --update`).
        minutes: that its stages may take in all; none: they have only their own limits. What is released by then is
            deployed all the same, which has limits of its own.
        reason: why it runs, for the run's name.
        how: a new release is deployed: direct, shadow or canary; None: as the recipe says.

    Returns what became of each stage, "fresh" or "ran" (of another recipe that it begins with by its address), of
    "pin", and as "deploy" the tag of a new release. The state's message says so when nothing has changed.
    Raises MetrolineError: StageFailed, bad recipes, a release that does not serve, a spent budget.
    """
    environment.enter()
    if how is not None:
        os.environ[DEPLOY] = how
    logger = get_run_logger()
    ends = None if minutes is None else time.monotonic() + 60 * minutes
    outcome: dict[str, str] = {}
    pinned = ""
    if pin:
        outcome["pin"], pinned = pin_data(recipe)
    found = line.entries(recipe, waiting=logger.warning)
    for stage in force or []:
        if stage not in {entry.named_in(recipe) for entry in found}:
            raise MetrolineError(f"no stage {stage!r} in the line of {recipe}")
    for entry in found:
        options = task_options(entry.stage)
        if ends is not None:
            left = max(ends - time.monotonic(), 0.1)
            options["timeout_seconds"] = min(options.get("timeout_seconds", left), left)
        one = run_stage.with_options(name=entry.address, **options)
        name = entry.named_in(recipe)
        try:
            outcome[name] = one(entry.address, name in (force or []), name)
        except TimeoutError:
            if minutes is not None and ends is not None and time.monotonic() >= ends:
                hint = f"the next one goes on from there: metroline run {recipe}"
                raise MetrolineError(
                    f"the run's {minutes:g} minutes are spent, in {entry.address}", hint=hint
                ) from None
            limit, variable = options["timeout_seconds"] / 60, f"METROLINE_TIMEOUT_{entry.stage.upper()}"
            hint = f"{variable} sets another limit, in minutes"
            raise MetrolineError(f"{entry.address} was stopped after {limit:g} minutes", hint=hint) from None
    report_metrics(recipe)
    if outcome.get("release") == "ran" or deployment.is_pending(recipe):
        patience = DEPLOYMENT + delivery.seconds(recipe)
        outcome["deploy"] = deploy.with_options(timeout_seconds=patience)(recipe)
    else:
        deployment.check_last(recipe)
    if set(outcome.values()) != {"fresh"}:
        return outcome
    message = f"nothing has changed: all stages of {recipe} are fresh{'; ' if pinned else ''}{pinned}"
    logger.info("%s", message)
    return Completed(message=message, data=outcome)


def _tell(text: str) -> None:
    """Say something to the run's log and to whoever watches."""
    get_run_logger().warning("%s", text)
    if _reporter:
        _reporter.console.print(text, markup=False, highlight=False)


def task_options(stage: str) -> dict[str, Any]:
    """Time-out and retries of a stage's task. A stage that this project does not know (the user's own) has neither."""
    known = STAGES.get(stage)
    if known is None:
        return {}
    options: dict[str, Any] = {"timeout_seconds": known.seconds(stage)}
    if known.network:
        options |= {
            "retries": len(RETRY_DELAYS),
            "retry_delay_seconds": list(RETRY_DELAYS),
            "retry_condition_fn": is_temporary,
        }
    return options


def is_temporary(task: Any, run: TaskRun, state: State[Any]) -> bool:
    """Whether a failed task is worth another try: the stage said that the network was at fault."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, line.StageFailed) and error.temporary


def run_here(
    recipe: str, reporter: Reporter, force: list[str], url: str, how: str | None = None
) -> dict[str, str]:  # fmt: skip
    """Run the flow in this process against the server at `url`, and show its stages."""
    global _reporter
    _reporter = reporter
    try:
        with client(url):
            outcome: Any = run_line(recipe, force, how=how)
            return dict(outcome)
    finally:
        _reporter = None
        # What is still on its way to the server has to arrive before the server is stopped.
        EventsWorker.drain_all(timeout=10)
        APILogWorker.drain_all(timeout=10)


@contextmanager
def _watching(name: str) -> Iterator[Callable[[str], None]]:
    """Give each line of a stage to the run's log (the API) and, where there is one, to the reporter."""
    logger, last = get_run_logger(), 0.0

    def log(text: str) -> None:
        nonlocal last
        event = parse_progress(text)
        if event is None and not text.startswith(MARKER):
            logger.info("%s", text)
        elif event and (event["final"] or time.monotonic() - last > LOG_PROGRESS_EVERY):
            last = time.monotonic()
            logger.info("%s", describe(event))

    if _reporter is None:
        yield log
        return
    with _reporter.stage(name) as show:

        def both(text: str) -> None:
            log(text)
            show(text)

        yield both
