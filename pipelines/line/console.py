"""What a person sees while stages run in other processes: their bars, their lines, and one result line a stage.

A terminal gets rich bars; a pipe or log file gets plain lines, and a bar's state every 10 seconds.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import TaskID

from base.progress import MARKER, format_fields, rich_bar

QUIET_SECONDS = 10.0
"""Between two plain lines about the same bar."""


def parse_progress(line: str) -> dict[str, Any] | None:
    """The event of an `@progress {json}` line; None for any other line, and for one that was cut short."""
    if not line.startswith(MARKER):
        return None
    try:
        event = json.loads(line.removeprefix(MARKER))
    except ValueError:
        return None
    return event if isinstance(event, dict) and "description" in event else None


def describe(event: dict[str, Any]) -> str:
    """A progress event as plain text: `train: 40/320 steps  loss 4.210`."""
    of = f"/{event['total']:,}" if event.get("total") is not None else ""
    return f"{event['description']}: {event['done']:,}{of} {event['unit']}  {format_fields(event['fields'])}".rstrip()


class Reporter:
    """Shows the stages of one run."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[str], None]]:
        """Yield the function that takes the stage's lines; print how long it took, or that it failed or was stopped."""
        started = time.monotonic()
        try:
            if self.console.is_terminal:
                with self._bars() as watch:
                    yield watch
            else:
                yield self._lines()
        except Exception:
            self.console.print(f"[red]✗[/] {name:<9} after {time.monotonic() - started:.0f} s")
            raise
        except BaseException:  # Ctrl-C, SIGTERM, a flow that is cancelled
            took = f"{time.monotonic() - started:.0f} s"
            self.console.print(f"[yellow]■[/] {name:<9} stopped after {took}; the same command goes on")
            raise
        self.console.print(f"[green]✓[/] {name:<9} {time.monotonic() - started:6.1f} s")

    def fresh(self, name: str) -> None:
        """Say that a stage did not have to run."""
        self.console.print(f"[green]✓[/] {name:<9} [dim]fresh[/]")

    @contextmanager
    def _bars(self) -> Iterator[Callable[[str], None]]:
        tasks: dict[str, TaskID] = {}
        with rich_bar(self.console) as bars:

            def watch(line: str) -> None:
                if event := parse_progress(line):
                    name, values = event["description"], format_fields(event["fields"])
                    if name not in tasks:
                        tasks[name] = bars.add_task(name, total=event["total"], unit=event["unit"], values=values)
                    total = event["done"] if event["final"] and event["total"] is None else event["total"]
                    bars.update(tasks[name], completed=event["done"], total=total, values=values)
                elif not line.startswith(MARKER):
                    bars.console.print(f"  [dim]{escape(line)}[/]", highlight=False)

            yield watch

    def _lines(self) -> Callable[[str], None]:
        shown: dict[str, float] = {}

        def watch(line: str) -> None:
            if event := parse_progress(line):
                now, name = time.monotonic(), event["description"]
                if event["final"] or now - shown.get(name, -QUIET_SECONDS) >= QUIET_SECONDS:
                    shown[name] = now
                    self.console.print(f"  {escape(describe(event))}", highlight=False, soft_wrap=True)
            elif not line.startswith(MARKER):
                self.console.print(f"  {escape(line)}", highlight=False, soft_wrap=True)

        return watch
