"""Functions that say how good an answer is, from 0 to 1, by rules: nothing is learnt here.

A reward takes the prompt, the answer that was drawn and the one that the data gives. A new one is a function and a line
in `REWARDS`.
"""

import ast
import json
import operator
from collections.abc import Callable
from fractions import Fraction

Reward = Callable[[str, str, str], float]
"""(prompt, answer, given answer) → 0 to 1."""

_DOES = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
LONGEST = 200
"""Characters of an expression or a number that are looked at."""


def given(prompt: str, answer: str, wanted: str) -> float:
    """1 where the answer is the given one but for white space around it."""
    return float(answer.strip() == wanted.strip())


def arithmetic(prompt: str, answer: str, wanted: str) -> float:
    """1 where the answer is the value of the prompt's expression (+ - * / and brackets; what follows `=` is passed
    over), whatever the data says; 0 where either is none."""
    expression, value = evaluated(prompt.partition("=")[0]), _number(answer)
    return float(expression is not None and value is not None and expression == value)


def valid_json(prompt: str, answer: str, wanted: str) -> float:
    """1 where the answer is one JSON object and nothing else; NaN and Infinity are none of JSON."""
    try:
        return float(isinstance(json.loads(answer, parse_constant=_refuse), dict))
    except (ValueError, RecursionError):
        return 0.0


REWARDS: dict[str, Reward] = {"arithmetic": arithmetic, "given": given, "json": valid_json}
"""What `task.reward` names."""


def evaluated(expression: str) -> Fraction | None:
    """The exact value of an expression of whole and decimal numbers; None: it is none, or divides by 0."""
    if len(expression) > LONGEST:
        return None
    try:
        return _value(ast.parse(expression.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None


def _value(node: ast.expr) -> Fraction:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return Fraction(str(node.value))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _DOES:
        found: Fraction = _DOES[type(node.op)](_value(node.left), _value(node.right))
        return found
    raise ValueError("no expression")


def _number(text: str) -> Fraction | None:
    try:
        return Fraction(text.strip()) if len(text) <= LONGEST and "/" not in text else None
    except ValueError:
        return None


def _refuse(name: str) -> float:
    raise ValueError(name)
