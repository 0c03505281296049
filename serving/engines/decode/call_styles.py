"""How models write calls of tools. A style more is one entry of STYLES.

    style = style_of(template, special)         # None: this template writes calls in no form that is known here
    lark = style.grammar(tools, choice)         # what holds a model to it

| style | what a model writes | whose |
| --- | --- | --- |
| `hermes` | `<tool_call>{"name": "f", "arguments": {...}}</tool_call>`, one or more | Hermes, Qwen, SmolLM3 |
| `list` | `<tool_call>[{"name": "f", "arguments": {...}}, ...]</tool_call>` | SmolLM2 1.7B |

Which one a model has is read from its chat template: there the calls of a chat's history are written. What was written
is read by call_reader.py.
"""

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from data.text.tools import FunctionDefinition
from serving.engines.decode.grammar import json_rule

MOST_CALLS = 16
"""In one answer that must call: a model that does not know its tools would call for ever."""


@dataclass(frozen=True)
class Choice:
    """What a request says about calls."""

    names: tuple[str, ...]
    """The tools that may be called."""
    forced: bool
    """The answer is a call, and no text."""
    parallel: bool
    """More than one call."""


@dataclass(frozen=True)
class CallStyle:
    """Calls as JSON objects with a name and arguments, between two texts."""

    name: str
    opening: str
    closing: str
    listed: bool
    """All calls are one JSON list, rather than each between the two texts."""
    told_by: re.Pattern[str]
    """What only templates of this style have in them."""

    def grammar(self, functions: Sequence[FunctionDefinition], choice: Choice, answer: str | None = None) -> str:
        """What an answer may be, in llguidance's Lark. `answer`: a rule for what is no call; None: any text.

        Text is free until a call opens; from there on it is a call of a tool in `functions`, with arguments by its
        schema, to the end.
        """
        opening, closing = json.dumps(self.opening), json.dumps(self.closing)
        if self.listed:
            more = f'(WS "," WS one){{0,{MOST_CALLS - 1}}}' if choice.parallel else ""
            body, again = f'WS "[" WS one {more} WS "]" WS {closing}', ""
        else:
            body = f"WS one WS {closing}"
            again = f"(WS {opening} body){{0,{MOST_CALLS - 1}}}" if choice.parallel else ""
        forced = f"{opening} body {again}"
        if choice.forced:
            start = forced
        elif answer is not None:
            start = f"answer | {forced}"
        else:
            start = "(head body)* TEXT" if again else "TEXT | head body"
        tools = [
            f'"\\"{function.name}\\"" middle {json_rule(function.schema_of_arguments, strict=bool(function.strict))}'
            for function in functions
            if function.name in choice.names
        ]
        anything = "/(?s:.*)/"
        lines = [
            f"start: {start}",
            f"body: {body}",
            'one: "{" WS "\\"name\\"" WS ":" WS named WS "}"',
            "named: " + " | ".join(f"named{number}" for number in range(len(tools))),
            *(f"named{number}: {tool}" for number, tool in enumerate(tools)),
            'middle: WS "," WS "\\"arguments\\"" WS ":" WS',
            r"WS: /[ \n\t]{0,8}/",
        ]
        if answer is not None:
            lines.append(f"answer: {answer}")
        elif not choice.forced:
            regex = re.escape(self.opening).replace("/", r"\/")
            lines += [
                f"head[suffix={opening}]: {anything}",
                f"TEXT: {anything} & ~/(?s:.*){regex}(?s:.*)/",
            ]
        return "\n".join(lines)


STYLES = (
    CallStyle("list", "<tool_call>", "</tool_call>", True, re.compile(r"<tool_call>\s*\[")),
    CallStyle("hermes", "<tool_call>", "</tool_call>", False, re.compile(r"<tool_call>(?!.*<function=)", re.DOTALL)),
)
"""The first whose mark a template has is its style."""


def style_of(template: str, special: Collection[str]) -> CallStyle | None:
    """The style of a chat template that shows tools. `special`: tokens that are no text, so that no answer has them."""
    style = next((style for style in STYLES if style.told_by.search(template)), None)
    return None if style is None or {style.opening, style.closing} & set(special) else style
