"""One progress bar for all long work, whoever is watching.

    with Progress("train", total=steps, unit="steps") as progress:
        progress.update(advance=1, loss=3.2, tokens_per_s=6800)

- On a terminal it draws a rich bar with the time left and the fields given to `update`.
- With METROLINE_PROGRESS=lines (set by the flow, which reads a stage's output) it prints one `@progress {json}`
  line at most every 0.5 s, for the parent process to draw.
- Otherwise it prints a plain line every 10 s, so that a log file stays readable.
"""

import json
import os
import sys
import time
from contextlib import suppress
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

MARKER = "@progress "


def format_fields(fields: dict[str, float | str]) -> str:
    """`{"loss": 3.21234, "tokens_per_s": 6812.4}` → `loss 3.212 · tokens/s 6,812`."""

    def number(value: float | str) -> str:
        if isinstance(value, str):
            return value
        return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3f}"

    return " · ".join(
        f"{name.replace('_per_', '/').replace('_', ' ')} {number(value)}" for name, value in fields.items()
    )


def rich_bar(console: Console) -> RichProgress:
    """The bar's columns, shared by a stage on a terminal and by the flow that draws for its stages."""
    return RichProgress(
        TextColumn("[bold]{task.description:>9}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[values]}"),
        console=console,
    )


class Progress:
    """A progress bar for one piece of work of `total` units (None: unknown). Use it as a context manager."""

    def __init__(self, description: str, total: int | None, unit: str = "") -> None:
        self.description, self.total, self.unit, self.done = description, total, unit, 0
        self._fields: dict[str, float | str] = {}
        self._started = self._last = time.monotonic()
        self._lines = os.environ.get("METROLINE_PROGRESS") == "lines"
        self._bar: RichProgress | None = None
        if not self._lines and sys.stderr.isatty():
            self._bar = rich_bar(Console(stderr=True))
            self._task = self._bar.add_task(description, total=total, unit=unit, values="")

    def __enter__(self) -> "Progress":
        if self._bar:
            self._bar.start()
        elif self._lines:
            self._emit(final=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        else:
            self._emit(final=True)

    def update(self, advance: int = 0, **fields: float | str) -> None:
        """Move the bar by `advance` units and show `fields` (numbers or short text) beside it."""
        self.done += advance
        self._fields.update(fields)
        if self._bar:
            self._bar.update(self._task, advance=advance, values=format_fields(self._fields))
        elif time.monotonic() - self._last >= (0.5 if self._lines else 10):
            self._emit(final=False)

    def _emit(self, *, final: bool) -> None:
        self._last = time.monotonic()
        if self._lines:
            event = {"description": self.description, "done": self.done, "total": self.total, "unit": self.unit,
                     "fields": self._fields, "final": final}  # fmt: skip
            with suppress(BrokenPipeError):  # a reader that went away must not end the work
                print(MARKER + json.dumps(event), flush=True)
        else:
            of = f"/{self.total:,}" if self.total is not None else ""
            seconds = self._last - self._started
            done = f"{self.description}: {self.done:,}{of} {self.unit} in {seconds:.0f} s"
            print(f"{done}  {format_fields(self._fields)}", file=sys.stderr, flush=True)
