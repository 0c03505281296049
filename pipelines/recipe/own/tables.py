"""Own tables with a target: of rows, or of one text a row; a class where the target has few values, else a number."""

import itertools
from collections.abc import Sequence
from pathlib import Path

from base.errors import MetrolineError, nearest
from base.yaml_files import quoted
from data.fetch.own_files import own_files
from data.leaks import refuse_copies_of_the_target
from data.tables.config import SUFFIXES
from data.values import Value
from pipelines.recipe.own.columns import ENOUGH, Seen, numeric, scan
from pipelines.recipe.own.found import Found, rows_of, split_of, trained_on
from pipelines.recipe.own.target import described, section, task_of

GATES = {
    "classification": {"gate": "test.accuracy >= 0.9", "floor": "always the commonest class"},
    "regression": {"gate": "test.r2 >= 0.5", "floor": "always the mean"},
}


def look(data: Path, name: str, target: str, task: str | None, drop: Sequence[str], encoding: str) -> Found:
    """A classifier of the rows, or a regression. Raises MetrolineError: no tables, no such column, a target of one
    class, or that may be both, or is another value in each row; a column that tells it.
    """
    own = own_files(data, "**/*", name=name, suffixes=SUFFIXES)
    seen = scan(own, target, encoding)
    for column in drop:
        if column not in seen.columns or column == target:
            inputs = [name for name in seen.columns if name != target]
            raise MetrolineError(f"--drop {column}: not a column of the inputs", hint=nearest(column, inputs[:40]))
    chosen = task_of(seen, target, task)
    left = dict.fromkeys(drop, "dropped")
    inputs = [column for column in seen.columns if column != target and column not in left]
    text = _text(seen, inputs)
    if text is None:
        left |= _no_inputs(seen, inputs)
        inputs = [column for column in inputs if column not in left]
    if not inputs:
        raise MetrolineError(f"{data}: no column is left to predict {target} from: {_listed(left)}")
    refuse_copies_of_the_target({column: seen.columns[column] for column in inputs}, seen.columns[target])
    values = {
        "subject": "your own text by class" if text and chosen == "classification" else "your own table",
        "rows": rows_of(seen.config),
        "target": quoted(target),
        "task": section(chosen, target),
        "split": split_of(str(own.name(file)) for file in own.files),
        **GATES[chosen],
        **trained_on(seen.rows),
    }
    if text is not None:
        values |= {"text": quoted(text), "length": str(_length(seen.columns[text]))}
        told = f"{seen.rows:,} texts in {text}"
    else:
        values |= {"drop": f"[{', '.join(map(quoted, left))}]"}
        told = f"{seen.rows:,} rows, {len(inputs):,} columns" + (f" (not {_listed(left)})" if left else "")
    said = f"{told}; target {target}: {described(seen, chosen)} → {chosen}"
    return Found(own, SUFFIXES, said, "sentences" if text is not None else "table", values)


def _text(seen: Seen, inputs: Sequence[str]) -> str | None:
    """The column with the text, where rows are texts: `text`, or the only one, if its values are hardly repeated."""
    for column in ("text",) if "text" in inputs else inputs if len(inputs) == 1 else ():
        values = [value for value in seen.columns[column] if value is not None]
        texts = all(isinstance(value, str) and not numeric(value) for value in values)
        if texts and 2 * len(set(values)) > len(values):
            return column
    return None


def _no_inputs(seen: Seen, inputs: Sequence[str]) -> dict[str, str]:
    """Columns that tell rows apart and nothing else, by why: empty, a row's number, a name of its own in each row."""
    found = {}
    for column in inputs:
        values = [value for value in seen.columns[column] if value is not None]
        if not values:
            found[column] = "empty"
        elif len(values) >= ENOUGH and len(set(values)) == len(values):
            if not all(numeric(value) for value in values):
                found[column] = "another text in each row"
            elif _counts_up([float(value) for value in values]):
                found[column] = "the row's number"
    return found


def _counts_up(values: Sequence[float]) -> bool:
    return all(after == before + 1 for before, after in itertools.pairwise(values))


def _length(values: Sequence[Value]) -> int:
    """Tokens that all but the longest texts have, by their words."""
    words = sorted(len(str(value).split()) for value in values if value is not None)
    usual = 2 * words[int(0.98 * (len(words) - 1))]
    return next((length for length in (32, 64, 128, 256) if usual <= length), 512)


def _listed(left: dict[str, str]) -> str:
    return ", ".join(f"{column}: {why}" for column, why in left.items())
