"""Values as JSON has them: parsing bytes of a client or of a record, and what counts as a number."""

import json
import math
import re
from typing import Any

from base.errors import BadItem

Value = str | int | float | bool | None
NUMBER = re.compile(r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
"""A number as text. Not 001, which is a name made of digits; not 1,000 and not 1_000."""
NOT_FINITE = re.compile(r"[+-]?(inf|infinity|nan)", re.IGNORECASE)
LARGEST = 3.4028234663852886e38
"""Of float32."""


def from_json(raw: bytes | str) -> Any:
    """The value of JSON text. Raises BadItem: no UTF-8, no JSON, a key that occurs twice, nested too deep."""
    try:
        text = raw if isinstance(raw, str) else raw.decode("utf-8-sig")
        return json.loads(text, object_pairs_hook=_once)
    except UnicodeDecodeError as error:
        raise BadItem(f"not UTF-8 at byte {error.start:,}") from None
    except RecursionError:
        raise BadItem("JSON that is nested too deep") from None
    except BadItem:
        raise
    except ValueError as error:  # also a number of thousands of digits
        raise BadItem(f"not JSON: {error}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise BadItem(f"the key {shown(name)} occurs twice")
            seen.add(name)
    return found


def number(value: Any, where: str) -> float:
    """A JSON number, or text that spells one, as float; NaN for null and nan. Raises BadItem: another thing, ±inf, too
    large for float32.
    """
    if value is None:
        return math.nan
    found = value
    if isinstance(value, str) and (NUMBER.fullmatch(value) or NOT_FINITE.fullmatch(value)):
        found = float(value)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise BadItem(f"{where}: {shown(value)} is not a number")
    if isinstance(found, float) and math.isnan(found):
        return math.nan
    if not -LARGEST <= found <= LARGEST:
        raise BadItem(f"{where}: {shown(value)} is not finite, or too large for float32")
    return float(found)


def shown(value: Any) -> str:
    """A value for an error message, cut when it is long."""
    text = json.dumps(value, ensure_ascii=False).encode(errors="replace").decode()
    return text if len(text) <= 60 else text[:57] + "..."


def category(value: Value) -> str:
    """A category's name: text as it is, 3 and 3.0 as 3, true and false as in JSON."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
