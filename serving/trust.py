"""Whose releases an endpoint serves: METROLINE_TRUST names public keys of minisign, and every bundle's manifest must be
signed by one of them (pipelines/release/signing.py signs). Unset: any whole bundle is served."""

from collections.abc import Sequence
from pathlib import Path

from base import minisign
from base.errors import MetrolineError
from base.manifest import NAME


def keys(said: str) -> list[minisign.Public]:
    """Files or lines of public keys, separated by commas. Raises MetrolineError: one that is none, or only commas."""
    found = [minisign.public(each) for part in said.split(",") if (each := part.strip())]
    if said and not found:
        raise MetrolineError(f"METROLINE_TRUST={said!r} names no key", hint="unset it, and any whole bundle is served")
    return found


def require(paths: Sequence[Path], said: str) -> None:
    """Raise MetrolineError for the first bundle that none of the keys has signed as what it is."""
    trusted = keys(said)
    for path in paths if trusted else ():
        try:
            minisign.verify(path / NAME, trusted)
        except MetrolineError as error:
            raise MetrolineError(f"METROLINE_TRUST: {error}") from None
