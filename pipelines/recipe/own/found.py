"""What a look at the user's own data has found: all that `metroline init` says and writes."""

import string
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from base.yaml_files import quoted
from data.assign import NAMES, WORD
from data.fetch.own_files import OwnFiles
from data.tables.config import RowsConfig

TEMPLATES = Path(__file__).parents[1] / "templates"


@dataclass(frozen=True)
class Found:
    """The files that count, what they are, and the recipe that suits them."""

    own: OwnFiles
    suffixes: tuple[str, ...]
    said: str
    """One line for the user; empty: the files say all."""
    template: str
    """A file of pipelines/recipe/templates, without .yaml."""
    values: Mapping[str, str]
    """What stands for the $names in it."""

    @property
    def about(self) -> str:
        """How the recipe's description begins."""
        files = {
            "sentences": "texts",
            "table": "rows",
            "audio": "clips",
            "masks": "images with masks",
            "boxes": "images with boxes",
            "speech": "clips with texts",
            "pairs": "pairs of answers",
        }
        return f"{files.get(self.template, self.template)} of"

    def recipe(self, **more: str) -> str:
        """The recipe's text."""
        text = (TEMPLATES / f"{self.template}.yaml").read_text(encoding="utf-8")
        return string.Template(text).substitute(self.values, **more)


def split_of(names: Iterable[str]) -> str:
    """The section `split`: the one that paths tell when each tells one, train and test among them; else by hash."""
    told = [{NAMES[match[1].lower()] for match in WORD.finditer(name)} for name in names]
    if all(len(each) == 1 for each in told) and {"train", "test"} <= set().union(*told):
        return "{method: given, valid: 0.10, duplicates: drop} # as the files' paths tell"
    return "{method: hash, valid: 0.15, test: 0.20} # by each input's hash: new ones move no other"


def rows_of(config: RowsConfig) -> str:
    """The section `data.rows`: what differs from its defaults."""
    parts = [f"delimiter: {quoted(config.delimiter)}"] if config.delimiter else []
    if config.encoding != "utf-8":
        parts.append(f"encoding: {quoted(config.encoding)}")
    if config.missing:
        parts.append(f"missing: [{', '.join(map(quoted, config.missing))}]")
    return f"{{{', '.join(parts)}}}"


def trained_on(count: int) -> dict[str, str]:
    """Steps for so many examples: about twenty times each, in bounds."""
    steps = 200 * max(1, min(10, round(20 * count / 64 / 200)))
    return {"steps": str(steps), "every": str(steps // 10), "half": str(steps // 2)}


def shown_counts(counts: Counter[str], most: int = 6) -> str:
    """`cat 40, dog 38`, the most frequent first; of many the rarest too, since it may be too rare."""
    ordered = [f"{label} {count:,}" for label, count in sorted(counts.items(), key=lambda item: (-item[1], item))]
    return ", ".join(ordered if len(ordered) <= most else [*ordered[: most - 1], "...", ordered[-1]])
