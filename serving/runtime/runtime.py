"""What one server process holds: its models, by name, and how far along it is.

Loading happens in a thread, so that /livez answers from the start and /readyz tells the truth: it is ready when every
model is loaded and has answered once. It knows no HTTP.
"""

import asyncio
import logging
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from base.errors import MetrolineError
from serving.http.access import ANYONE, Access
from serving.http.errors import unavailable, unknown_model
from serving.http.settings import Settings
from serving.runtime.history import History
from serving.runtime.kept import Kept

if TYPE_CHECKING:  # imported in the loading thread: the parent process needs neither NumPy nor ONNX Runtime
    from serving.runtime.delivery.begin import Refused
    from serving.runtime.delivery.delivery import Delivery
    from serving.runtime.loaded_model import LoadedModel

Model = TypeVar("Model", bound="LoadedModel")
STICKY = b"x-sticky-key"
"""Header of a client that wants all its requests of one key to be answered by one version."""

log = logging.getLogger("metroline.runtime")

PATIENCE = 10.0
"""Seconds that a request waits for the model to be loaded before it gets 503: a reload loses no request."""


class Runtime:
    """The state of this process. Made when the service is imported, filled by `start` in a worker."""

    settings: Settings
    access: Access
    kept: Kept

    def __init__(self) -> None:
        self.state: Literal["new", "loading", "ready", "failed"] = "new"
        self.draining = False  # new requests get 503
        self.leaving = False  # connections are closed after their answer
        self.requests = 0
        self.models: tuple[LoadedModel, ...] = ()
        self.deliveries: dict[str, Delivery | Refused] = {}
        self.history = History()
        self._noting: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()

    def start(self, settings: Settings) -> None:
        """Begin to load, from the event loop's thread."""
        self.settings, self.state, self.access = settings, "loading", Access(settings)
        self.kept = Kept(settings)
        loop = asyncio.get_running_loop()
        self._noting = loop.create_task(self.history.run())

        def load() -> None:
            try:
                self._load()
                self.state = "ready"
            except MetrolineError as error:
                self.state = "failed"
                log.error("model not loaded", extra={"fields": {"problem": str(error)}})
            except Exception:
                self.state = "failed"
                log.exception("model not loaded")
            loop.call_soon_threadsafe(self._settled.set)

        threading.Thread(target=load, name="metroline-load", daemon=True).start()

    def _load(self) -> None:
        from serving.bundle import locate
        from serving.runtime.adapters import attach, divide
        from serving.runtime.bundles import load_all
        from serving.runtime.delivery.begin import begin
        from serving.runtime.loading import load

        settings = self.settings
        bundles, adapters = divide(load_all(locate(), settings.precision, settings.trust))
        share = settings.share(len(bundles))
        self.models = attach([load(bundle, share) for bundle in bundles], adapters)
        self.deliveries = begin(self.models, share)

    @property
    def alive(self) -> bool:
        """Nothing is broken for good."""
        return self.state in ("new", "loading") or (self.state == "ready" and self._all_alive())

    @property
    def ready(self) -> bool:
        """Every model answers, and new requests are welcome."""
        return self.state == "ready" and not self.leaving and all(served.engine.ready for served in self.models)

    def _all_alive(self) -> bool:
        return all(served.engine.alive for served in self.models)

    def pick(self, model: str | None, engine: str | None = None) -> "LoadedModel":
        """The model that a request names, as name or name:version, an adapter as base:adapter; for None the first one,
        of `engine` if there is one.

        Raises ApiError 404.
        """
        if model is None:
            return next((each for each in self.models if each.bundle.engine == engine), self.models[0])
        for served in (*self.models, *self.candidates):
            if model in (served.bundle.name, f"{served.bundle.name}:{served.bundle.version}"):
                return served
        raise unknown_model(str(model), [served.bundle.name for served in self.models])

    @property
    def candidates(self) -> "list[LoadedModel]":
        """Releases that are tried beside the live ones. They are picked by name:version alone."""
        return [each.candidate for each in self.deliveries.values() if each.candidate]

    def routed(self, scope: MutableMapping[str, Any], served: Model, name: str | None) -> Model:
        """The model that answers a request which names `name`, and for which `served` was picked: its candidate for
        some. It is noted for the log and the metrics. `scope`: the request's."""
        known = scope["metroline"]
        fields, delivery = known["fields"], self.deliveries.get(served.name)
        if delivery is not None:
            if delivery.candidate and ":" not in (name or ""):
                caller = dict(scope["headers"]).get(STICKY, b"").decode("latin-1")
                if not caller and delivery.plan.sticky == "key" and fields.get("caller") != ANYONE:
                    caller = str(fields.get("caller", ""))
                if delivery.takes(fields["request_id"], caller):
                    served = delivery.candidate  # type: ignore[assignment]  # of the same engine
            fields["version"] = served.bundle.version
        known["served"], fields["model"] = served, served.name
        return served

    def answered(self, served: "LoadedModel", status: int) -> None:
        """A request for an answer was answered with this HTTP status."""
        delivery = self.deliveries.get(served.name)
        if delivery and delivery.candidate:
            delivery.answered(served, status)

    def check_room(self) -> None:
        """Raises ApiError 429 when no model would take one more request: then its body need not be read."""
        refusals = [served.engine.refusal() for served in self.models]
        if refusals and all(refusals):
            raise next(filter(None, refusals))

    def abort(self) -> None:
        """End all streams of all models at once."""
        for served in (*self.models, *self.candidates):
            served.engine.abort()

    async def until_ready(self) -> None:
        """Wait for the models. Raises ApiError 503 when one failed, or does not come within PATIENCE seconds."""
        if self.state != "ready":
            try:
                await asyncio.wait_for(self._settled.wait(), PATIENCE)
            except TimeoutError:
                raise unavailable("loading") from None
        if self.state != "ready" or not self._all_alive():
            raise unavailable("failed")

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        """Count a request while it is handled; the last ones are waited for when the server goes down."""
        self.requests += 1
        try:
            yield
        finally:
            self.requests -= 1
