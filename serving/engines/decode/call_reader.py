"""An answer while it is written, taken apart into text and calls of tools.

    reader = CallReader(style)
    parts = reader.push("Let me see. <tool_call>{...")   # Text, Begun and Arguments, in order
    parts, reason = reader.finish("stop")

Arguments are passed on as they come and as they were written. A call is begun when its name is complete. White space
between text and calls belongs to neither. What a grammar of the style allows is read; anything else between the two
texts of a call is dropped.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

from serving.engines.decode.call_styles import CallStyle

HEAD = re.compile(r'[\s\[,}]*\{\s*"name"\s*:\s*"(?P<name>[a-zA-Z0-9_-]*)"\s*,\s*"arguments"\s*:\s*(?=\{)')


class Text(NamedTuple):
    """Text that is no call."""

    text: str


class Begun(NamedTuple):
    """A call has begun. `number`: which one of the answer, from 0."""

    number: int
    name: str


class Arguments(NamedTuple):
    """More of a call's arguments, as JSON text."""

    number: int
    text: str


Part = Text | Begun | Arguments


@dataclass
class _Json:
    """Finds the end of a JSON object that comes in pieces."""

    depth: int = 0
    quoted: bool = False
    escaped: bool = False

    def end(self, text: str) -> int | None:
        """Where the object ends in this piece; None: not in it."""
        for at, character in enumerate(text):
            if self.escaped:
                self.escaped = False
            elif self.quoted:
                self.escaped, self.quoted = character == "\\", character != '"'
            elif character == '"':
                self.quoted = True
            elif character in "{[":
                self.depth += 1
            elif character in "}]":
                self.depth -= 1
                if self.depth == 0:
                    return at + 1
        return None


class CallReader:
    """Reads one choice of an answer."""

    def __init__(self, style: CallStyle, *, whole: bool = False) -> None:
        """`whole`: a call is passed on only when its arguments are complete."""
        self._style, self._whole = style, whole
        self._calls = 0
        """How many have all their arguments."""
        self._held = ""
        """What is not decided yet."""
        self._called = False
        """Between the two texts of a call."""
        self._json: _Json | None = None
        """Within arguments."""
        self._fresh = False
        """No text has come since the last call."""
        self._waiting: list[Part] = []
        """Of a call that is not complete, where only whole ones are wanted."""

    def push(self, text: str) -> list[Part]:
        """More of the answer. Returns what is now certain."""
        self._held += text
        parts: list[Part] = []
        while self._arguments(parts) if self._json else self._between(parts) if self._called else self._text(parts):
            pass
        return parts

    def finish(self, reason: str) -> tuple[list[Part], str]:
        """The answer has ended. Returns what was held back, and the reason: `tool_calls` for a stop after calls.

        Arguments that were cut short stay as they are, as OpenAI's do: no JSON, and never with the reason `tool_calls`.
        """
        if self._json is not None:
            return [], reason
        rest = "" if self._called else self._held.rstrip() if self._calls else self._held
        rest = rest.lstrip() if self._fresh else rest
        return [Text(rest)] if rest else [], "tool_calls" if self._calls and reason == "stop" else reason

    def _text(self, parts: list[Part]) -> bool:
        """Pass on text up to an opening, or to white space or a part of an opening at its end."""
        opening = self._style.opening
        before, found, after = self._held.partition(opening)
        part = next((n for n in range(len(opening) - 1, 0, -1) if before.endswith(opening[:n])), 0)
        shown = before[: len(before) - (0 if found else part)].rstrip()
        self._called, self._held = bool(found), after if found else before[len(shown) :]
        if self._fresh:
            shown = shown.lstrip()
        if shown:
            parts.append(Text(shown))
            self._fresh = False
        return self._called

    def _between(self, parts: list[Part]) -> bool:
        """After the opening, or after arguments: another call begins, or the closing comes."""
        if head := HEAD.match(self._held):
            self._held, self._json = self._held[head.end() :], _Json()
            self._send(Begun(self._calls, head["name"]), parts)
            return True
        _, found, after = self._held.partition(self._style.closing)
        if found:
            self._called, self._held, self._fresh = False, after, True
        return bool(found)

    def _arguments(self, parts: list[Part]) -> bool:
        assert self._json is not None
        end = self._json.end(self._held)
        text = self._held[:end]
        self._held = "" if end is None else self._held[end:]
        if text:
            self._send(Arguments(self._calls, text), parts)
        if end is None:
            return False
        self._json, self._calls = None, self._calls + 1
        parts += self._waiting
        self._waiting = []
        return True

    def _send(self, part: Part, parts: list[Part]) -> None:
        (self._waiting if self._whole else parts).append(part)
