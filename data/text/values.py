"""Values of JSON and Parquet as a document's meta can hold them: text, a number, a truth value, or nothing.

Each function raises ValueError with the reason, such as "has half a surrogate pair at character 4", for a value that
cannot be turned into one; where it stood is data/text/readers.py's to say.
"""

import math
from typing import Any

Value = str | int | float | bool | None

# What pyarrow raises for a value that Python has no room or no library for.
UNREADABLE = (ArithmeticError, LookupError, ValueError, TypeError, ImportError, NotImplementedError)


def plain(value: Any) -> Value:
    """Times, decimals, lists and the like become text, binary too when it is UTF-8; NaN and infinity become nothing."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"is binary and not UTF-8 at byte {error.start:,}") from None
    try:
        return whole(str(value))
    except RecursionError:
        raise ValueError("is nested too deep") from None


def whole(text: str) -> str:
    """`text` itself. JSON can spell half a surrogate pair, which no encoding can write."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"has half a surrogate pair at character {error.start:,}") from None
    return text


def from_arrow(scalar: Any) -> Any:
    """The Python value of a pyarrow scalar; the text of a time that Python cannot hold, such as one of nanoseconds."""
    import pyarrow as pa

    try:
        return scalar.as_py()
    except UnicodeDecodeError as error:
        raise ValueError(f"has invalid UTF-8 at byte {error.start:,}") from None
    except UNREADABLE as error:
        kind = scalar.type
        if pa.types.is_timestamp(kind) or pa.types.is_time(kind) or pa.types.is_date(kind):
            text = _spelled(scalar)
            if text is not None:
                return text
        reason = " ".join(str(error).split())
        raise ValueError(f"is a {kind} that cannot be turned into text: {reason}") from None


def _spelled(scalar: Any) -> str | None:
    """Arrow's own spelling of a time; None where it has none: out of range, unknown time zone."""
    import pyarrow as pa

    try:
        text = str(scalar.cast(pa.string()).as_py())
    except pa.ArrowException:
        return None
    return None if text.startswith("<") else text
