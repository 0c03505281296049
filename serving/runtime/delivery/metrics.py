"""What is counted of a candidate, for Prometheus; `version` is the candidate's."""

from typing import Any

from serving.runtime.metrics import ModelMetrics

APART = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
OUTCOMES = ("equal", "different", "answered", "failed", "skipped", "dropped")


class DeliveryMetrics:
    """The series of one candidate."""

    def __init__(self, model: ModelMetrics) -> None:
        self._share = model.gauge("delivery_share", "Share of requests that a candidate sees", "livemax", ("mode",))
        self._compared = model.counter(
            "delivery_compared_total", "Requests that candidate and live release have both answered", ("outcome",)
        )
        self._apart = model.histogram("delivery_difference", "How far apart their answers are", APART)
        self._leaning = model.gauge(
            "delivery_evidence", "Each sequential test of a candidate: -1 good, 1 bad", "livemax", ("test",)
        )
        self._labels = model.labels
        for outcome in OUTCOMES:
            self._compared.labels(**self._labels, outcome=outcome)

    def share(self, mode: str, share: float) -> None:
        """It sees this share of requests."""
        self._share.labels(**self._labels, mode=mode).set(share)

    def compared(self, outcome: str, difference: float | None) -> None:
        """A request was compared, or not."""
        self._compared.labels(**self._labels, outcome=outcome).inc()
        if difference is not None:
            self._apart.observe(difference)

    def evidence(self, tests: list[dict[str, Any]]) -> None:
        """The state of each test."""
        says = {"good": -1.0, "bad": 1.0, "open": 0.0}
        for row in tests:
            value = says[row["says"]] if row["leaning"] is None or row["says"] == "bad" else row["leaning"]
            self._leaning.labels(**self._labels, test=row["test"]).set(value)
