"""What the server counts of a model that answers in one call, for Prometheus. Names are the engine's, for every task.

Beside those of all models (prefix `metroline_`): input_decode_seconds, compute_seconds (histograms), and what it says:
predictions_total{output,label}, prediction_value{output,name}; drift_psi{side,feature}.
Labels are bounded: labels, names and features are those of the signature and the reference, MOST of each.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from data.signature import BoxesOutput, LabelsOutput, MaskOutput, NumbersOutput, SeriesOutput, TranscriptOutput
from serving.engines.forward.bundle import ForwardBundle
from serving.engines.forward.metrics import Side
from serving.runtime.metrics import STEP_SECONDS, ModelMetrics, observe_all

MOST = 100
"""Labels of one output; all others are counted as OTHER."""
OTHER = "(other)"
_SIZES = tuple(digit * 10.0**power for power in range(-3, 7) for digit in (1, 3))
VALUES = (*(-size for size in reversed(_SIZES)), 0.0, *_SIZES)
"""Bounds of numbers, whatever their unit."""


class ForwardMetrics(ModelMetrics):
    """The series of a model that answers in one call."""

    def __init__(self, bundle: ForwardBundle, registry: Any = None) -> None:
        """See ModelMetrics."""
        super().__init__(bundle, registry)
        self._decode_seconds = self.histogram("input_decode_seconds", "From an item's bytes to arrays", STEP_SECONDS)
        self._compute_seconds = self.histogram("compute_seconds", "One forward pass over a batch", STEP_SECONDS)
        self._predictions = self.counter("predictions_total", "Answers, by label", ("output", "label"))
        self._values = self.histogram(
            "prediction_value",
            "Answers that are numbers; of a forecast each channel's mean, of a mask each area, of boxes how many, of a "
            "transcript its characters and how sure its frames are",
            VALUES,
            ("output", "name"),
        )
        self._psi = self.gauge("drift_psi", "Population stability index of the last items against the test split",
                               "livemax", ("side", "feature"))  # fmt: skip
        self._requests.labels(**self._labels, route="/v1/models/{model}/predict", status="200")
        self._kept: dict[str, frozenset[str]] = {}
        self._said: dict[tuple[str, str], Any] = {}
        for output in bundle.typed.outputs:
            if isinstance(output, LabelsOutput):
                self._kept[output.name] = frozenset(output.labels[:MOST])
                for label in output.labels[:MOST]:
                    self._predictions.labels(**self._labels, output=output.name, label=label)
            elif isinstance(output, NumbersOutput):
                self._kept[output.name] = frozenset(output.names[:MOST])
            elif isinstance(output, MaskOutput | BoxesOutput):
                self._kept[output.name] = frozenset(output.labels[:MOST])
            elif isinstance(output, TranscriptOutput):
                self._kept[output.name] = frozenset({"characters", "confidence"})
            elif isinstance(output, SeriesOutput):
                self._kept[output.name] = frozenset(output.channels[:MOST])

    def decoded(self, seconds: float) -> None:
        """See ForwardEngineMetrics."""
        self._decode_seconds.observe(seconds)

    def batch(self, waits: Sequence[float], seconds: float) -> None:
        """See ForwardEngineMetrics."""
        observe_all(self._queue_seconds, waits)
        self._batch.observe(len(waits))
        self._compute_seconds.observe(seconds)

    def label(self, output: str, label: str) -> None:
        """See ForwardEngineMetrics."""
        label = label if label in self._kept[output] else OTHER
        if (series := self._said.get((output, label))) is None:  # looking one up costs more than counting in it
            series = self._said[output, label] = self._predictions.labels(**self._labels, output=output, label=label)
        series.inc()

    def number(self, output: str, name: str, value: float) -> None:
        """See ForwardEngineMetrics."""
        if name in self._kept[output]:
            self._values.labels(**self._labels, output=output, name=name).observe(value)

    def drift(self, side: Side, scores: Mapping[str, float]) -> None:
        """See ForwardEngineMetrics."""
        for feature, score in scores.items():
            self._psi.labels(**self._labels, side=side, feature=feature).set(score)
