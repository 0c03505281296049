"""Where chat templates run: Jinja2's sandbox, with bounds on what a template may do and build.

    template = compiled("{% for message in messages %}…")
    with budget():
        text = "".join(template.generate(messages=[]))

Turns of loops, calls of macros, recursion, numbers, widths and lengths are bounded; time is, too, at every step. That
is enough against the known ways to hang or fill memory, but it is no process boundary: a template is still to be pinned
by hash like any other input. What a template is given is `data.text.templates`'s.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError

LONGEST_TEXT = 1 << 22  # characters a template may build
STEPS = 200_000  # turns of loops and calls of macros
SECONDS = 5.0  # looked at in each step
LARGEST = 1_000_000  # number that may be passed to a function: nothing is padded or repeated more often

MARKS = ("\ufdd2", "\ufdd3")
"""What stands before and after a block `generation` where marks are shown: code points that Unicode keeps out of
text."""

_shown: ContextVar[bool] = ContextVar("_shown", default=False)
_spent: ContextVar[list[float]] = ContextVar("_spent")
"""Of the rendering that runs: steps left, and when its time is up."""
_WIDE = re.compile(r"\d{6}|\*")


@contextmanager
def budget(*, marks: bool = False) -> Iterator[None]:
    """While inside, one rendering may run. `marks`: it shows where blocks `generation` begin and end."""
    token, shown = _spent.set([STEPS, time.monotonic() + SECONDS]), _shown.set(marks)
    try:
        yield
    finally:
        _spent.reset(token)
        _shown.reset(shown)


def _step(count: int = 1) -> None:
    """Pay for some steps of the rendering that runs."""
    budget = _spent.get()
    budget[0] -= count
    if budget[0] < 0:
        raise SecurityError(f"it takes more than {STEPS:,} steps")
    if time.monotonic() > budget[1]:
        raise SecurityError(f"it takes longer than {SECONDS:g} s")


class _Generation(Extension):
    """{% generation %} … {% endgeneration %} holds what the model said; where it begins and ends is shown on demand."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        """The content between its marks."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        begin, end = (
            nodes.Output([nodes.Call(nodes.EnvironmentAttribute("mark"), [nodes.Const(which)], [], None, None)])
            for which in (0, 1)
        )
        return [begin.set_lineno(line), nodes.Scope(body, lineno=line), end.set_lineno(line)]


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox with bounds on what a template may build."""

    intercepted_binops = frozenset(["*", "**", "%", "+"])

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Arithmetic, refused where its result would be huge."""
        lengths = [len(side) for side in (left, right) if isinstance(side, str | list | tuple)]
        numbers = [abs(side) for side in (left, right) if isinstance(side, int | float)]
        if operator == "%" and isinstance(left, str):
            _check_format(left)
        if operator == "**" and (numbers[1:] > [64] or numbers[:1] > [LARGEST]):
            raise SecurityError("it raises to too high a power")
        if operator == "*" and (lengths and numbers and lengths[0] * numbers[0] > LONGEST_TEXT):
            raise SecurityError(f"it builds something longer than {LONGEST_TEXT:,}")
        if operator == "*" and len(numbers) == 2 and max(numbers) > 1e15:
            raise SecurityError("it multiplies too large numbers")
        if operator == "+" and sum(lengths) > LONGEST_TEXT:
            raise SecurityError(f"it builds something longer than {LONGEST_TEXT:,}")
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **values: Any) -> Any:
        """A call of a function, refused with huge numbers and widths."""
        if getattr(__obj, "__name__", "") in ("format", "format_map"):
            _check_format(str(getattr(getattr(__obj, "__wrapped__", __obj), "__self__", "")))
        _check_numbers(*args, *values.values())
        return super().call(__context, __obj, *args, **values)

    # Reached from compiled templates only, where a template's own names cannot hide them.
    step = staticmethod(_step)

    @staticmethod
    def mark(which: int) -> str:
        """A border of a block `generation`, where it is to be shown."""
        return MARKS[which] if _shown.get() else ""

    @staticmethod
    def join(*parts: Any) -> str:
        """The operator ~."""
        texts = [str(part) for part in parts]
        if sum(map(len, texts)) > LONGEST_TEXT:
            raise SecurityError(f"it builds something longer than {LONGEST_TEXT:,}")
        return "".join(texts)


def _check_numbers(*values: Any) -> None:
    if any(isinstance(value, int | float) and abs(value) > LARGEST for value in values):
        raise SecurityError(f"it calls a function with a number above {LARGEST:,}")


def _check_format(text: str) -> None:
    if _WIDE.search(text):
        raise SecurityError("it formats with too large a width")


def _range(*bounds: int) -> range:
    found = range(*bounds)
    _step(len(found))
    return found


def _tojson(value: Any, indent: int | None = None, separators: tuple[str, str] | None = None,
            sort_keys: bool = False, ensure_ascii: bool = False) -> str:  # fmt: skip
    """As `transformers` has it: no escapes for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _strftime_now(layout: str) -> str:
    return datetime.now().strftime(layout)


def _modest(filter_: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that pads, refused with huge numbers and widths."""

    def checked(value: Any, *args: Any, **values: Any) -> Any:
        _check_numbers(*args, *values.values())
        if filter_.__name__ == "do_format":
            _check_format(str(value))
        return filter_(value, *args, **values)

    return checked


def compiled(source: str) -> Template:
    """A template that steps within `budget`. Raises jinja2.TemplateError, RecursionError."""
    environment = _Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    own = {"range": _range, "raise_exception": _raise_exception, "strftime_now": _strftime_now}
    environment.globals |= own
    del environment.globals["lipsum"]
    environment.filters["tojson"] = _tojson
    environment.filters |= {name: _modest(environment.filters[name]) for name in ("center", "format", "indent")}
    tree = environment.parse(source)
    _meter(tree)
    code = environment.compile(tree)
    return environment.template_class.from_code(environment, code, environment.make_globals(None))


def _meter(tree: nodes.Template) -> None:
    """Make each turn of a loop and each call of a macro take a step, and each ~ check its length."""
    repeated: list[nodes.For | nodes.Macro] = [*tree.find_all(nodes.For), *tree.find_all(nodes.Macro)]
    for node in repeated:
        step = nodes.Call(nodes.EnvironmentAttribute("step"), [], [], None, None, lineno=node.lineno)
        node.body.insert(0, nodes.ExprStmt(step, lineno=node.lineno))
    _replace_joins(tree)


def _replace_joins(node: nodes.Node) -> None:
    for name in node.fields:
        value = getattr(node, name)
        if isinstance(value, nodes.Node):
            setattr(node, name, _joined(value))
        elif isinstance(value, list):
            setattr(node, name, [_joined(item) if isinstance(item, nodes.Node) else item for item in value])


def _joined(node: nodes.Node) -> nodes.Node:
    _replace_joins(node)
    if not isinstance(node, nodes.Concat):
        return node
    return nodes.Call(nodes.EnvironmentAttribute("join"), node.nodes, [], None, None, lineno=node.lineno)
