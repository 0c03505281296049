"""What a run tells: curves.jsonl (the same bytes each time), timing.jsonl, Prometheus metrics, the progress bar.

timing.jsonl and metrics.prom hold what depends on the day; neither is an output that DVC hashes.
"""

import json
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, start_http_server, write_to_textfile

from base.progress import Progress

GAUGES = {
    "loss": "training loss, mean per target since the last line",
    "valid_loss": "loss over the whole validation split, mean per target",
    "valid_value": "what the best step is chosen by: the validation loss, or the task's own value",
    "tokens_per_second": "targets trained on per second, all processes",
    "mfu_ratio": "floating-point operations of the model as a part of the machine's peak",
    "gradient_norm": "norm of the whole gradient before clipping",
    "step_seconds": "time of one optimizer step with everything around it, validation and saving aside",
    "data_wait_seconds": "time a step waits for its batch",
    "step": "optimizer steps done",
    "running": "1 while training runs",
    "last_success_timestamp_seconds": "when training last finished, Unix time",
}
Watch = Callable[[dict[str, Any]], None]
"""Is told each line of the curves; what it raises ends the run."""
TEXTFILE_EVERY = 5.0  # seconds: node-exporter reads it every 15 or so


class Metrics:
    """Writes the lines and gauges of one run; only the leading process has one. Close it when the run ends."""

    def __init__(
        self, recipe: str, folder: Path, curves: Path, port: int | None = None, watch: Watch | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._watch = watch
        self.recipe, self.textfile = recipe, folder / "metrics.prom"
        self.registry = CollectorRegistry()
        self.gauges: dict[str, Gauge] = {}
        self._curves = curves.open("ab")
        self._timing = (folder / "timing.jsonl").open("a", encoding="utf-8")
        self._written = 0.0
        self.set(last_success_timestamp_seconds=_last_success(self.textfile), running=1.0)
        if port is not None:
            start_http_server(port, addr="127.0.0.1", registry=self.registry)
        self.write()

    def set(self, **values: float | None) -> None:
        """Set gauges by the names in GAUGES; None leaves one alone, and one never set is not exported."""
        for name, value in values.items():
            if value is None:
                continue
            if name not in self.gauges:
                self.gauges[name] = Gauge(f"metroline_train_{name}", GAUGES[name], ["recipe"], registry=self.registry)
            self.gauges[name].labels(self.recipe).set(value)

    def write(self, *, now: bool = True) -> None:
        """Write the textfile; without `now` only when the last time is long enough ago."""
        if now or time.monotonic() - self._written >= TEXTFILE_EVERY:
            write_to_textfile(str(self.textfile), self.registry)
            self._written = time.monotonic()

    def curve(self, line: dict[str, Any]) -> None:
        """Append a line that is the same in every run of the recipe."""
        self._curves.write((json.dumps(line) + "\n").encode())
        self._curves.flush()
        if self._watch is not None:
            self._watch(line)

    def timing(self, line: dict[str, Any]) -> None:
        """Append a line about how long things took."""
        self._timing.write(json.dumps(line) + "\n")
        self._timing.flush()

    def curves_bytes(self) -> int:
        """Length of the curves so far."""
        return self._curves.tell()

    def close(self, *, success: bool) -> None:
        """Say that the run is over; `success`: it finished. Of one that failed, a full disk is no further error."""
        self.set(running=0.0, last_success_timestamp_seconds=time.time() if success else None)
        with ExitStack() as stack:
            if not success:
                stack.enter_context(suppress(OSError))
            for file in (self._curves, self._timing):
                stack.enter_context(file)
            self.write()


def _last_success(textfile: Path) -> float | None:
    """When training last finished, from the textfile of the run before."""
    try:
        for line in textfile.read_text(encoding="utf-8").splitlines():
            if line.startswith("metroline_train_last_success_timestamp_seconds{"):
                return float(line.rsplit(" ", 1)[1])
    except (OSError, ValueError):
        pass
    return None


class Clock:
    """Seconds by what they went to, since the last line: `lap(name)` adds the time since the last lap to a name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Book the time since the last lap."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now

    def take(self) -> dict[str, float]:
        """What was booked; begins anew."""
        seconds, self.seconds = self.seconds, {}
        return seconds


__all__ = ["GAUGES", "Clock", "Metrics", "Progress"]
