"""Whether an alert leads to a run: debounced, within a budget, and both judged by what the Prefect server has recorded.

Nothing is kept here, so that a restart forgets nothing and several receivers spend one budget. The runs that count are
those with the tag ALERT.
"""

import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from base.errors import MetrolineError
from pipelines.line.prefect_api import client
from pipelines.line.prefect_processes import answers

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun
    from prefect.client.schemas.responses import DeploymentResponse

ALERT = "alert"
"""Tag of the runs that an alert has started."""
DAY = timedelta(days=1)
RUNNING = ["PENDING", "RUNNING", "PAUSED", "CANCELLING"]

Outcome = Literal["started", "debounced", "over_budget", "unknown"]


@dataclass(frozen=True)
class Limits:
    """What alerts may spend on one recipe."""

    runs: int = 4
    """Runs in 24 hours."""
    minutes: float = 240.0
    """Minutes of these runs, all together, in 24 hours; a run is stopped when they are spent."""
    quiet: float = 60.0
    """Minutes after the end of such a run in which an alert starts no other one."""


@dataclass(frozen=True)
class Answer:
    """What became of an alert, for whoever sent it and for the log."""

    outcome: Outcome
    said: str
    run: str | None = None
    """Prefect's id of the run."""
    retry_after: float | None = None
    """Seconds until the same alert could start a run."""


class Retraining:
    """Starts runs of deployments that are registered at the Prefect server at `url`."""

    def __init__(self, url: str, recipes: tuple[str, ...], limits: Limits) -> None:
        self.recipes = recipes
        self._url, self._limits = url, limits
        self._one_at_a_time = threading.Lock()

    def ask(self, recipe: str, reason: str) -> Answer:
        """Start a run, or say why not. Raises MetrolineError: the server does not answer or knows no deployment."""
        if recipe not in self.recipes:
            return Answer("unknown", f"{recipe} is not watched; watched: {', '.join(self.recipes)}")
        if not answers(self._url, remote=True):  # at once: the client would try for two minutes
            raise MetrolineError(f"the Prefect server at {self._url} does not answer")
        with self._one_at_a_time, client(self._url) as prefect:
            deployment = _deployment(prefect, recipe)
            runs = _runs(prefect, deployment)
            return self._refusal(runs) or self._start(prefect, deployment, recipe, reason, runs)

    def _refusal(self, runs: "list[FlowRun]") -> Answer | None:
        """Why no run is started now; None: one is."""
        now = datetime.now(UTC)
        active = next((run for run in runs if _active(run)), None)
        if active is not None:
            return Answer("debounced", f"the run {active.name!r} is under way", str(active.id))
        ours = _of_the_last_day(runs, now)
        ends: list[datetime] = [run.end_time for run in ours if run.end_time]
        if ends and (left := (max(ends) + timedelta(minutes=self._limits.quiet) - now).total_seconds()) > 0:
            return Answer("debounced", f"the last run ended {_minutes(max(ends), now)} ago", retry_after=left)
        again = min((_began(run) for run in ours), default=now) + DAY
        wait = max((again - now).total_seconds(), 1.0)
        if len(ours) >= self._limits.runs:
            said = f"{len(ours)} runs in 24 hours were started by alerts, of {self._limits.runs}"
            return Answer("over_budget", said, retry_after=wait)
        if (spent := _spent(ours)) >= self._limits.minutes:
            said = f"{spent:.1f} minutes in 24 hours were spent on alerts, of {self._limits.minutes:g}"
            return Answer("over_budget", said, retry_after=wait)
        return None

    def _start(
        self, prefect: "SyncPrefectClient", deployment: "DeploymentResponse", recipe: str, reason: str,
        runs: "list[FlowRun]",
    ) -> Answer:  # fmt: skip
        left = self._limits.minutes - _spent(_of_the_last_day(runs, datetime.now(UTC)))
        run = prefect.create_flow_run_from_deployment(
            deployment.id,
            name=f"{recipe}: {reason}",
            parameters={"recipe": recipe, "pin": True, "minutes": round(left, 2), "reason": reason},
            tags=[ALERT],
        )
        return Answer("started", f"run {run.name!r} is started", str(run.id))


def _deployment(prefect: "SyncPrefectClient", recipe: str) -> "DeploymentResponse":
    from prefect.exceptions import ObjectNotFound

    try:
        return prefect.read_deployment_by_name(f"line/{recipe}")
    except ObjectNotFound:
        hint = f"metroline watch {recipe} registers it when it starts"
        raise MetrolineError(f"the Prefect server has no deployment line/{recipe} any more", hint=hint) from None


def _runs(prefect: "SyncPrefectClient", deployment: "DeploymentResponse") -> "list[FlowRun]":
    """Runs of the deployment that alerts have started within a day, and whatever runs now."""
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId, FlowRunFilter

    only = DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id]))
    since = {"after_": datetime.now(UTC) - DAY}
    alerts = FlowRunFilter.model_validate({"tags": {"all_": [ALERT]}, "expected_start_time": since})
    running = FlowRunFilter.model_validate({"state": {"type": {"any_": RUNNING}}})
    found = [prefect.read_flow_runs(flow_run_filter=each, deployment_filter=only) for each in (running, alerts)]
    return list({run.id: run for runs in found for run in runs}.values())


def _active(run: "FlowRun") -> bool:
    """It runs, or is to run at once: not one that a schedule plans for later."""
    state = run.state_type.value if run.state_type else None
    return state in RUNNING or (state == "SCHEDULED" and ALERT in run.tags)


def _of_the_last_day(runs: "list[FlowRun]", now: datetime) -> "list[FlowRun]":
    """Those that an alert has started; one that never ran, because another was under way, does not count."""
    return [
        run for run in runs
        if ALERT in run.tags and now - _began(run) < DAY and not (run.end_time and run.start_time is None)
    ]  # fmt: skip


def _began(run: "FlowRun") -> datetime:
    return run.start_time or run.expected_start_time or datetime.now(UTC)


def _spent(runs: "list[FlowRun]") -> float:
    """Minutes."""
    return sum((run.total_run_time.total_seconds() for run in runs), 0.0) / 60


def _minutes(then: datetime, now: datetime) -> str:
    return f"{(now - then).total_seconds() / 60:.1f} minutes"
