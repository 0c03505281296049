"""The operator's own function that takes out of a record what must not be kept: METROLINE_REDACT=module:function."""

import importlib
from collections.abc import Callable
from typing import Any

from base.errors import MetrolineError

Redact = Callable[[dict[str, Any]], dict[str, Any] | None]
"""A record → what may be kept of it; None: nothing."""


def load(named: str) -> Redact:
    """The function of `module:function`; of "" one that changes nothing. Raises MetrolineError: there is no such."""
    if not named:
        return lambda record: record
    module, _, function = named.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:
        raise MetrolineError(f"METROLINE_REDACT={named!r} cannot be loaded: {error}", hint="module:function") from None
    if not callable(found):
        raise MetrolineError(f"METROLINE_REDACT={named!r} is no function", hint="module:function")
    redact: Redact = found
    return redact
