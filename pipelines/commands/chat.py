"""A terminal client of a running endpoint: chat with its model, or type the beginning of a text that it continues.

    metroline chat                                  # or: python -m pipelines.commands.chat --url http://127.0.0.1:3000

With a model that has a chat template it is a chat; with any other one what is typed is the beginning of a text, not a
question. Ctrl-C stops an answer, Ctrl-D leaves. An endpoint that wants an API key gets that of METROLINE_API_KEY.
"""

import argparse
import math
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any

from rich.console import Console
from rich.markup import escape

from base.client import Client
from base.errors import MetrolineError
from base.terminal import print_anywhere

HELP = """{what}
  [bold]/again[/]           another answer to the same
  [bold]/set NAME VALUE[/]  change a setting: {names}; VALUE [bold]-[/] takes it back
  [bold]/show[/]            the settings
  [bold]/help[/]            this text
  [bold]/quit[/]            leave (or Ctrl-D)
Ctrl-C stops an answer. \\\\n in what you type is a new line."""

CHAT_HELP = """Type a message and press Enter.
  [bold]/new[/]             begin a new chat"""
TEXT_HELP = """Type the beginning of a text and press Enter; the model continues it.
  [bold]/more[/]            go on from where the last completion ended"""


@dataclass(frozen=True)
class Settings:
    """What is sent with each prompt; None: left to the server."""

    max_tokens: int | None = 128
    temperature: float | None = 0.8
    top_p: float | None = 0.95
    top_k: int | None = None
    seed: int | None = None
    stop: str | None = None

    def change(self, name: str, text: str) -> "Settings":
        """Set a value from what a user typed; `-` unsets it. Raises MetrolineError."""
        kinds: dict[str, Callable[[str], Any]] = {
            "max_tokens": int, "temperature": _finite, "top_p": _finite, "top_k": int, "seed": int, "stop": _unescape,
        }  # fmt: skip
        if name not in kinds:
            raise MetrolineError(f"no setting {name!r}", hint=f"there are: {', '.join(kinds)}")
        try:
            return replace(self, **{name: None if text == "-" else kinds[name](text)})
        except ValueError:
            raise MetrolineError(f"{name} cannot be {text!r}") from None

    def body(self) -> dict[str, Any]:
        """The fields of a request."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


def _finite(text: str) -> float:
    """A number that JSON can hold. Raises ValueError."""
    if not math.isfinite(number := float(text)):
        raise ValueError(text)
    return number


def _unescape(text: str) -> str:
    return text.replace("\\n", "\n").replace("\\t", "\t")


class Chat:
    """One conversation; `line` handles what the user types."""

    def __init__(self, client: Client, console: Console, settings: Settings, model: dict[str, Any]) -> None:
        self.client, self.console, self.settings = client, console, settings
        self.model, self.chats = model["id"], bool(model.get("chat"))
        self.prompt = self.text = ""
        self.messages: list[dict[str, str]] = []

    def line(self, typed: str) -> bool:
        """Handle one line. Returns whether to go on. Raises MetrolineError for what cannot be done."""
        if not typed.strip():
            return True
        if not typed.startswith("/"):
            self._answer(_unescape(typed))
            return True
        command, *arguments = shlex.split(typed)
        if command in ("/quit", "/exit", "/q"):
            return False
        if command == "/help":
            names = ", ".join(field.name for field in fields(Settings))
            self.console.print(HELP.format(names=names, what=CHAT_HELP if self.chats else TEXT_HELP), highlight=False)
        elif command == "/show":
            for name, value in self.settings.body().items():
                self.console.print(f"  {name} {value!r}", markup=False)
        elif command == "/set" and len(arguments) == 2:
            self.settings = self.settings.change(*arguments)
        elif command == "/again" or (command == "/more" and not self.chats):
            if not self.prompt:
                raise MetrolineError("there is no answer yet")
            self._answer(self.prompt + (self.text if command == "/more" else ""), again=command == "/again")
        elif command == "/new" and self.chats:
            self.messages, self.prompt = [], ""
        else:
            raise MetrolineError(f"{command} {' '.join(arguments)}: no such command", hint="/help lists them")
        return True

    def _answer(self, prompt: str, again: bool = False) -> None:
        prompt = prompt.encode("utf-8", "surrogateescape").decode("utf-8", "replace")  # the terminal may not be UTF-8
        self.prompt, self.text = prompt, ""
        if self.chats:
            if again:
                del self.messages[-2:]
            messages = [*self.messages, {"role": "user", "content": prompt}]
            route, body = "/v1/chat/completions", {"model": self.model, "messages": messages}
        else:
            self.console.print(prompt, style="dim", end="", markup=False, highlight=False, soft_wrap=True)
            route, body = "/v1/completions", {"model": self.model, "prompt": prompt}
        started, first, tokens, reason = time.monotonic(), None, 0, "stopped by you"
        chunks = self.client.stream(route, body | self.settings.body())
        try:
            for chunk in chunks:
                first = first or time.monotonic()
                tokens = chunk.get("usage", {}).get("completion_tokens", tokens + len(chunk["choices"]))
                for choice in chunk["choices"]:
                    text = choice["delta"].get("content", "") if self.chats else choice["text"]
                    self.text += text
                    self.console.print(text, end="", markup=False, highlight=False, soft_wrap=True)
                    reason = {"length": "at its length", "stop": "by the model"}.get(choice["finish_reason"], reason)
        except KeyboardInterrupt:
            pass
        finally:
            chunks.close()
            self.console.print()
            if self.chats:
                answered = {"role": "assistant", "content": self.text}
                self.messages = [*messages, answered] if self.text else messages[:-1]
        now = time.monotonic()
        rate = f"{(tokens - 1) / (now - first):.0f} tokens/s, " if first and tokens > 1 and now > first else ""
        wait = f"first after {1000 * (first - started):.0f} ms, " if first else ""
        self.console.print(f"[dim]── {tokens} tokens, {rate}{wait}ended {reason}[/]", highlight=False)


def chat(
    url: str = "http://127.0.0.1:3000",
    *,
    prompt: str | None = None,
    settings: Settings | None = None,
    console: Console | None = None,
    read: Callable[[], str] | None = None,
) -> int:
    """Talk to the endpoint at `url` until the user leaves; with `prompt` complete only that. Returns the exit code.

    `read` gives the user's next line, and raises EOFError at the end; default: the terminal, with line editing.
    Raises MetrolineError when no endpoint answers.
    """
    console = console or Console()
    client = Client(url)
    model = client.model()
    longest = min(512 if model.get("chat") else 128, model["max_tokens"])
    talk = Chat(client, console, settings or Settings(max_tokens=longest), model)
    if prompt is not None:
        talk.line(prompt) if not prompt.startswith("/") else talk._answer(prompt)
        return 0
    with suppress(ImportError):
        import readline  # noqa: F401  input() uses it for editing and history
    console.print(f"[bold]{escape(model['id'])}[/] [dim]{escape(model['version'])} at {escape(url)}, /help helps[/]")
    while True:
        try:
            typed = read() if read else input("› ")
            if not talk.line(typed):
                return 0
        except EOFError:
            console.print()
            return 0
        except KeyboardInterrupt:
            console.print("[dim](Ctrl-D leaves)[/]")
        except (MetrolineError, ValueError) as error:
            console.print(f"[red]{escape(str(error))}[/]", highlight=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the client. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.commands.chat", description="Talk to a running endpoint."
    )
    parser.add_argument("prompt", nargs="?", help="complete only this")
    parser.add_argument("--url", default="http://127.0.0.1:3000")
    given = parser.parse_args(arguments)
    print_anywhere()
    try:
        return chat(given.url, prompt=given.prompt)
    except MetrolineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
