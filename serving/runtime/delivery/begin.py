"""Which candidates there are beside the live models. One that cannot be loaded is rolled back, and live stays."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.delivery import Plan
from base.errors import MetrolineError
from serving.http.settings import Settings
from serving.runtime import bundles
from serving.runtime.delivery.delivery import Board, Delivery
from serving.runtime.delivery.evidence import Verdict
from serving.runtime.loading import load
from serving.store import candidate

if TYPE_CHECKING:
    from serving.runtime.loaded_model import LoadedModel

log = logging.getLogger("metroline.delivery")


class Refused:
    """In place of a delivery whose candidate could not be loaded."""

    def __init__(self, live: "LoadedModel", version: str, plan: Plan, problem: str) -> None:
        self.live, self.candidate, self._version, self._plan, self._why = live, None, version, plan, problem

    def judged(self, version: str, *, wrong: bool) -> None:
        """See Delivery."""

    def state(self) -> dict[str, Any]:
        """See Delivery."""
        return {
            "model": self.live.name, "live": self.live.bundle.version, "candidate": self._version,
            "mode": self._plan.mode, "share": self._plan.share, "plan": self._plan.id, "outcomes": {"compared": 0},
            "tests": [], "difference": 0.0, "decision": "rollback", "why": self._why,
        }  # fmt: skip


def begin(models: "Sequence[LoadedModel]", settings: Settings) -> dict[str, Delivery | Refused]:
    """Load the candidates of these models, and try them. Name of a model → its delivery."""
    released = {name for each in os.environ.get("METROLINE_MODELS", "").split(",") if (name := each.strip())}
    return {live.name: found for live in models if live.name in released and (found := _one(live, settings))}


def _one(live: "LoadedModel", settings: Settings) -> Delivery | Refused | None:
    shared = os.environ.get("METROLINE_METRICS_FOLDER") or os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    folder = Path(shared) if shared else None
    try:
        found = candidate(live.name)
    except MetrolineError as error:  # live answers all the same
        log.error("no candidate", extra={"fields": {"model": live.name, "problem": str(error)}})
        return None
    if found is None:
        return None
    path, plan = found
    try:
        (bundle,) = bundles.load_all([path], settings.precision, settings.trust)
        made = load(bundle, settings)
        if type(made) is not type(live):
            raise MetrolineError(f"it is run by the engine {made.bundle.engine}, the live one by {live.bundle.engine}")
        delivery = Delivery(live, made, plan, folder=folder, workers=settings.workers)
        delivery.start()
    except Exception as error:  # whatever is wrong with a candidate must not take the live model down
        why = f"it cannot be loaded: {error if isinstance(error, MetrolineError) else type(error).__name__}"
        log.error("candidate not loaded", exc_info=None if isinstance(error, MetrolineError) else error,
                  extra={"fields": {"model": live.name, "candidate": path.name, "problem": why}})  # fmt: skip
        live.metrics.decided("rollback")  # the candidate has none
        Board(folder, plan.id, settings.workers).write(Verdict("rollback", why))
        return Refused(live, path.name, plan, why)
    return delivery
