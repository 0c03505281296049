"""The engine: raw items in, arrays out: a pool of threads decodes files and texts, the batcher's thread runs.

    outputs = await engine.answer([(png,), (jpeg,)], "req-1")

What an item gets does not depend on its neighbours, to the last bit (see graph.py). It knows neither HTTP nor BentoML.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from base.errors import BadItem
from data.drift import output_features
from data.signature import (
    BoxesOutput,
    LabelsOutput,
    MaskOutput,
    NumbersOutput,
    SeriesOutput,
    Signature,
    TranscriptOutput,
)
from serving.engines.exchange import FAULTS
from serving.engines.forward.answers import check_finite, chosen
from serving.engines.forward.batcher import Batcher, BatchGraph, Job
from serving.engines.forward.drift import ForwardDrift
from serving.engines.forward.exchange import ForwardExchange
from serving.engines.forward.graph import Array, Prepared
from serving.engines.forward.metrics import ForwardEngineMetrics
from serving.engines.forward.preparation import Preparation, Raw
from serving.http.errors import ApiError, deadline_passed, invalid, queue_full, unavailable


class ForwardEngine:
    """Runs items on one graph. All public methods are for the event loop's thread."""

    def __init__(
        self, signature: Signature, prepare: Preparation, graph: BatchGraph, metrics: ForwardEngineMetrics,
        drift: ForwardDrift, *, queue: int = 256, deadline: float = 120.0, decoders: int = 1, at_once: int = 0,
    ) -> None:  # fmt: skip
        """`queue`: items that may wait beside a batch; `deadline`: seconds that a request may take, waiting included;
        `decoders`: threads that decode; `at_once`: items of a request that need none."""
        self.signature, self._prepare, self._metrics, self._drift = signature, prepare, metrics, drift
        self.largest, self.most, self._deadline = graph.largest, queue + graph.largest, deadline
        self._batcher = Batcher(graph, self._ran)
        self._pool = ThreadPoolExecutor(decoders, "metroline-decode")
        self._inside = 0  # items that are decoded, wait or run
        self._at_once, self._ended = at_once, False
        self._seconds = 0.01  # rolling mean of the graph's time for an item, for Retry-After
        self._graph = graph
        self.exchanged: Callable[[ForwardExchange], None] | None = None
        """Told of each request that was answered, and of each whose error may be the model's fault."""

    def start(self) -> None:
        """Start the batcher's thread."""
        self._batcher.start()

    @property
    def alive(self) -> bool:
        """The batcher's thread runs."""
        return self._batcher.alive

    @property
    def ready(self) -> bool:
        """It answers."""
        return self.alive and not self._ended

    @property
    def idle(self) -> bool:
        """Nothing is inside."""
        return self._inside == 0

    def refusal(self, items: int = 1) -> ApiError | None:
        """The 429 that so many more items would get now; None: they would be let in."""
        if self._inside + items <= self.most:
            return None
        wait = self._seconds * self._inside
        return queue_full(self._inside, max(1, min(60, round(wait))), "items")

    def abort(self) -> None:
        """End all requests at once, with an error that says why, and take no new ones."""
        self._ended = True
        self._batcher.abort()

    async def answer(
        self, items: Sequence[tuple[Raw, ...]], request_id: str, seconds: float | None = None,
        *, window: int | None = None, admit: Callable[[list[Prepared]], None] | None = None, param: str = "inputs",
    ) -> list[tuple[Array, ...]]:  # fmt: skip
        """The outputs of each item. `seconds`: its own deadline, where that is nearer. `window`: so many of the items
        take room, and wait or run at once; the others follow. `admit`: is shown all of them, decoded, before any runs,
        and may raise. `param`: the request's field that holds them.

        Raises ApiError: 400 an item cannot be read, 429 there is no room, 503 after `abort`, 504 the deadline.
        """
        if self._ended:
            raise unavailable("draining")
        room = min(len(items), window or len(items)) or 1
        if room > self.most:
            raise invalid(f"At most {self.most} items in one request, not {len(items)}. Send several.", param)
        if refusal := self.refusal(room):
            raise refusal
        limit = min(self._deadline, seconds or self._deadline)
        self._count(room)
        try:
            async with asyncio.timeout(limit):
                ready = await self._decoded(items, param)
                if admit:
                    admit(ready)
                outputs = await self._through(ready, request_id, room)
            if self.exchanged:
                self.exchanged(ForwardExchange(request_id, items, outputs))
            return outputs
        except ApiError as error:
            if self.exchanged and error.code in FAULTS:
                self.exchanged(ForwardExchange(request_id, items, None, error.code))
            raise
        except TimeoutError:
            raise deadline_passed(limit) from None
        except asyncio.CancelledError:
            self._metrics.cancelled()
            raise
        finally:
            self._count(-room)

    def alone(self, item: tuple[Raw, ...]) -> tuple[Array, ...]:
        """The outputs of one item, finite or not, past queue, batches and metrics. From any thread; takes no room.

        Raises BadItem, and what ONNX Runtime raises.
        """
        (outputs,) = self._graph.run([self._prepare(item)])
        return outputs

    async def _decoded(self, items: Sequence[tuple[Raw, ...]], param: str) -> list[Prepared]:
        loop, found = asyncio.get_running_loop(), list[Prepared]()
        quick = len(items) <= self._at_once
        decoding = [] if quick else [loop.run_in_executor(self._pool, self._decode, item) for item in items]
        try:
            for number, item in enumerate(items):
                try:
                    found.append(self._decode(item) if quick else await decoding[number])
                except BadItem as error:
                    where = f"Item {number}: " if len(items) > 1 else ""
                    raise invalid(f"{where}{error}", param, "invalid_input") from None
        finally:
            for each in decoding:
                each.cancel()
        return found

    async def _through(self, items: list[Prepared], request_id: str, room: int) -> list[tuple[Array, ...]]:
        """Run them, `room` at a time; where that takes several rounds, those of one shape together."""
        order = sorted(range(len(items)), key=lambda i: items[i].shape) if room < len(items) else range(len(items))
        found: dict[int, tuple[Array, ...]] = {}
        for at in range(0, len(items), room):
            jobs = {i: Job(items[i], request_id) for i in order[at : at + room]}
            try:
                self._batcher.submit(list(jobs.values()))
                self._metrics.queued(self._batcher.waiting)
                for i, job in jobs.items():
                    found[i] = await job.answer
            finally:
                for job in jobs.values():
                    job.dropped = True
        outputs = [found[i] for i in range(len(items))]
        for arrays in outputs:
            check_finite(self.signature, arrays)
        for item, arrays in zip(items, outputs, strict=True):
            self._note(item, arrays)
        return outputs

    def _decode(self, item: tuple[Raw, ...]) -> Prepared:
        started = time.monotonic()
        ready = self._prepare(item)
        self._metrics.decoded(time.monotonic() - started)
        return ready

    def _ran(self, batch: list[Job], seconds: float) -> None:
        self._seconds += 0.1 * (seconds / len(batch) - self._seconds)
        self._metrics.batch([job.started - job.submitted for job in batch], seconds)
        self._metrics.queued(self._batcher.waiting)

    def _count(self, items: int) -> None:
        self._inside += items
        self._metrics.active(self._inside)

    def _note(self, item: Prepared, outputs: Sequence[Array]) -> None:
        """Count an answer, and look at drift now and then."""
        for output, array in zip(self.signature.outputs, outputs, strict=True):
            if isinstance(output, LabelsOutput):
                self._metrics.label(output.name, output.labels[chosen(output, array)])
            elif isinstance(output, NumbersOutput):
                for name, value in zip(output.names, array.reshape(-1), strict=True):
                    self._metrics.number(output.name, name, float(value))
            elif isinstance(output, MaskOutput | BoxesOutput | TranscriptOutput):
                for name, amount in output_features(output, array).items():
                    self._metrics.number(output.name, name, amount)
            elif isinstance(output, SeriesOutput):
                for name, value in zip(output.channels, array[..., 0].mean(0), strict=True):
                    self._metrics.number(output.name, name, float(value))
        for side, scores in (self._drift.add(item.decoded, outputs) or {}).items():
            self._metrics.drift(side, scores)
