"""Golden queries of an index: what is asked and which passages were found, in the bundle and compared wherever it goes.

golden/golden.json: [{"query", "mode", "passages": [{"document", "start", "end", "score"}]}], the best first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from base.errors import MetrolineError
from base.files import read_json, write_json
from data.golden import AGAIN, FILE, FOLDER
from data.index.store import Mode

CLOSE = 0.02
"""Two scores that differ by less of the larger one may change places: int8 vectors of two machines differ a little."""
KEPT = 5
"""Passages of each query."""

Found = Mapping[str, Any]
"""`document`, `start`, `end` and `score` of one passage."""


@dataclass(frozen=True)
class Query:
    """A query with what was found."""

    query: str
    mode: Mode
    passages: tuple[Found, ...]


def write(bundle: Path, queries: Sequence[Query]) -> None:
    """Write golden/ into `bundle`."""
    (bundle / FOLDER).mkdir(exist_ok=True)
    entries = [{"query": each.query, "mode": each.mode, "passages": list(each.passages)} for each in queries]
    write_json(bundle / FILE, entries)


def load(bundle: Path) -> list[Query]:
    """The golden queries of a bundle. Raises MetrolineError: none there, damaged."""
    try:
        found = [
            Query(str(entry["query"]), entry["mode"], tuple({**each, "score": float(each["score"])}
                                                           for each in entry["passages"]))
            for entry in read_json(bundle / FILE)
        ]  # fmt: skip
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise MetrolineError(f"{bundle / FILE} cannot be read: {error!r}", hint=AGAIN) from None
    if not found:
        raise MetrolineError(f"{bundle / FILE} holds no query", hint=AGAIN)
    return found


def compare(expected: Query, got: Sequence[Found]) -> str | None:
    """What is wrong with the passages `got`; None: the first one is the expected one, or as good."""
    where = f"{expected.mode} search for {expected.query[:60]!r}"
    if not expected.passages:
        return f"{where}: {len(got)} passages, expected none" if got else None
    if not got:
        return f"{where}: nothing found"
    first = expected.passages[0]
    scores = {_place(each): each["score"] for each in expected.passages}
    found = scores.get(_place(got[0]), float("-inf"))
    if first["score"] - found > CLOSE * abs(first["score"]):
        return f"{where}: {_shown(got[0])}, expected {_shown(first)}"
    return None


def _place(found: Found) -> tuple[Any, ...]:
    return found["document"], found["start"], found["end"]


def _shown(found: Found) -> str:
    return f"{found['document']} [{found['start']}, {found['end']}) with score {found['score']:.4g}"
