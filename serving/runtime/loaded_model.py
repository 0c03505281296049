"""One model that this process serves: its bundle, metrics and running engine, whichever that is. It knows no HTTP.

The engines' own are `runtime.decoder_model` and `runtime.forward_model`; `runtime.loading` picks one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from serving.bundle import Bundle
from serving.engines.exchange import Exchange
from serving.http.errors import ApiError
from serving.runtime.metrics import ModelMetrics


class RunningEngine(Protocol):
    """What the process asks of any engine."""

    @property
    def alive(self) -> bool:
        """It runs, or starts again after a failure."""

    @property
    def ready(self) -> bool:
        """It answers."""

    def refusal(self) -> ApiError | None:
        """The 429 that one more request would get now; None: it would be let in."""

    def abort(self) -> None:
        """End all requests at once, with an error that says why, and take no new ones."""

    exchanged: Callable[[Any], None] | None
    """Told of requests that were answered, so that another release can answer them too; None: nobody asks."""


@dataclass(frozen=True)
class LoadedModel:
    """A loaded model."""

    bundle: Bundle
    engine: RunningEngine
    metrics: ModelMetrics

    @property
    def name(self) -> str:
        """What requests call it."""
        return self.bundle.name

    def golden(self) -> Sequence[Exchange]:
        """Requests that come with the bundle, for another release to answer."""
        return ()

    def describe(self) -> dict[str, Any]:
        """What /v1/models says about it."""
        bundle = self.bundle
        return {
            "id": bundle.name, "object": "model", "created": bundle.created, "owned_by": "metroline",
            "version": bundle.version, "precision": bundle.precision, "data_hash": bundle.data_hash,
            "engine": bundle.engine, **_signature(bundle),
        }  # fmt: skip


def _signature(bundle: Bundle) -> dict[str, Any]:
    if bundle.signature is None:
        return {"task": "text-generation"}
    described = bundle.signature.model_dump(mode="json")
    return {key: described[key] for key in ("task", "inputs", "outputs")}
