"""SIGTERM and SIGINT (Ctrl-C) ask training to save and stop; a Ctrl-C after that stops it at once.

A further SIGTERM does not: make, timeout and systemd send one to each process of a group, and the line sends its own.
"""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Stopped(SystemExit):
    """Training saved its state and ended because a signal asked it to; the exit code is 128 + the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


class StopRequest:
    """A context manager that notes the first signal in `number`. Outside the main thread it notes none."""

    def __init__(self) -> None:
        self.number = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number and number == signal.SIGINT:
            raise Stopped(number)
        self.number = self.number or number
