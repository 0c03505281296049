"""The search space: which keys of a recipe vary, and over what.

    settings = parse(["train.lr=loguniform(1e-4, 1e-2)", "model.dropout=choice(0, 0.1, 0.2)"])

A setting is `SECTION.KEY=KIND(...)`: uniform(low, high), loguniform(low, high), int(low, high[, step]),
logint(low, high), choice(a, b, ...), whose values are written as in YAML. Nothing is trained before every end of every
range and every choice has passed the recipe's own schema.
"""

import copy
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from base.errors import MetrolineError, nearest
from base.yaml_files import Loader, read_mapping
from pipelines.recipe.load import RECIPES, checked
from pipelines.recipe.schema import Recipe

SECTIONS = ("train", "model")
"""What may vary: the prepared data is the same for all trials, and what they are judged by too."""
FIXED = {
    "train.seed": "luck is not searched; the winner is trained with a second seed anyway",
    "train.device": "it decides no number",
    "model.kind": "each kind has keys of its own: one search for each",
}
SETTING = re.compile(r"(?P<key>[a-z_]+(?:\.[a-z_0-9]+)+) *= *(?P<kind>[a-z]+) *\((?P<values>.*)\)")
KINDS = ("uniform", "loguniform", "int", "logint", "choice")
EXAMPLE = 'as --set "train.lr=loguniform(1e-4, 1e-2)"'


@dataclass(frozen=True)
class Setting:
    """One key that varies. `text`: as it was written."""

    key: str
    distribution: BaseDistribution
    text: str

    @property
    def path(self) -> tuple[str, ...]:
        """`("train", "lr")`."""
        return tuple(self.key.split("."))

    def value(self, drawn: Any) -> Any:
        """The recipe's value of what Optuna drew: four digits, which people can read; choices go through Optuna as
        JSON, for it knows no lists."""
        if isinstance(self.distribution, CategoricalDistribution):
            return json.loads(drawn)
        return float(f"{drawn:.4g}") if isinstance(drawn, float) else drawn

    def drawn(self, value: Any) -> Any | None:
        """What Optuna would have drawn for a recipe's value; None: it lies outside."""
        if isinstance(self.distribution, CategoricalDistribution):
            text = json.dumps(value)
            return text if text in self.distribution.choices else None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        assert isinstance(self.distribution, FloatDistribution | IntDistribution)
        low, high = self.distribution.low, self.distribution.high
        step = self.distribution.step if isinstance(self.distribution, IntDistribution) else None
        return value if low <= value <= high and (not step or (value - low) % step == 0) else None

    def ends(self) -> Iterator[Any]:
        """Both ends of its range, or every choice."""
        if isinstance(self.distribution, CategoricalDistribution):
            yield from (json.loads(str(choice)) for choice in self.distribution.choices)
        else:
            assert isinstance(self.distribution, FloatDistribution | IntDistribution)
            yield from (self.distribution.low, self.distribution.high)

    def grid(self) -> list[Any]:
        """All its values. Raises MetrolineError for a range, which has no end of them."""
        if isinstance(self.distribution, CategoricalDistribution):
            return list(self.distribution.choices)
        if isinstance(self.distribution, IntDistribution) and not self.distribution.log:
            return list(range(self.distribution.low, self.distribution.high + 1, self.distribution.step))
        raise MetrolineError(f"--set {self.text}: a grid needs single values", hint=f"{self.key}=choice(...)")


def parse(texts: Iterable[str]) -> tuple[Setting, ...]:
    """The settings of `--set`, sorted by key. Raises MetrolineError: none, unreadable, a key twice, one that stays."""
    found: dict[str, Setting] = {}
    for text in texts:
        setting = _setting(text)
        if setting.key in found:
            raise MetrolineError(f"--set {text}: {setting.key} is set twice")
        found[setting.key] = setting
    if not found:
        raise MetrolineError("there is nothing to search", hint=EXAMPLE)
    return tuple(found[key] for key in sorted(found))


def _setting(text: str) -> Setting:
    where = f"--set {text}"
    match = SETTING.fullmatch(text.strip())
    if match is None:
        raise MetrolineError(f"{where}: not SECTION.KEY=KIND(...)", hint=EXAMPLE)
    key, kind = match["key"], match["kind"]
    section = key.partition(".")[0]
    if section not in SECTIONS:
        raise MetrolineError(
            f"{where}: {section} stays as it is", hint=f"what varies are keys of {', '.join(SECTIONS)}"
        )
    if key in FIXED:
        raise MetrolineError(f"{where}: {key} stays as it is", hint=FIXED[key])
    if kind not in KINDS:
        raise MetrolineError(f"{where}: no kind {kind!r}", hint=nearest(kind, KINDS))
    try:
        values = yaml.load(f"[{match['values']}]", Loader)
    except yaml.YAMLError:
        raise MetrolineError(f"{where}: its values are no YAML", hint=EXAMPLE) from None
    return Setting(key, _distribution(kind, values, where), text.strip())


def _distribution(kind: str, values: Sequence[Any], where: str) -> BaseDistribution:
    if kind == "choice":
        texts = [json.dumps(value, default=str) for value in values]  # a date is what it is written as
        if len(set(texts)) < 2 or len(set(texts)) < len(texts):
            raise MetrolineError(f"{where}: it needs two choices or more, all different")
        return CategoricalDistribution(texts)
    whole = kind in ("int", "logint")
    types, most = (int if whole else int | float), (3 if kind == "int" else 2)
    numbers = all(isinstance(value, types) and not isinstance(value, bool) for value in values)
    if not 2 <= len(values) <= most or not numbers:
        what = "low, high[, step]" if kind == "int" else "low, high"
        raise MetrolineError(f"{where}: {kind} takes ({what}), {'whole ' if whole else ''}numbers")
    low, high, log = values[0], values[1], kind.startswith("log")
    if not low < high or high == float("inf"):
        raise MetrolineError(f"{where}: the range must rise from a low to a high number")
    if log and low <= 0:
        raise MetrolineError(f"{where}: {kind} begins above 0", hint=kind.removeprefix("log") if whole else "uniform")
    if not whole:
        return FloatDistribution(float(low), float(high), log=log)
    step = values[2] if len(values) == 3 else 1
    if step < 1 or (high - low) % step:
        raise MetrolineError(f"{where}: the step must divide {high} - {low}")
    return IntDistribution(low, high, log=log, step=step)


def check(settings: Sequence[Setting], name: str, values: Mapping[str, Any]) -> None:
    """Have the recipe's schema see every end and every choice. Raises MetrolineError for the first that it refuses."""
    for setting in settings:
        for value in setting.ends():
            checked(name, put(values, {setting.path: value}), f"--set {setting.text}")


def read(name: str, root: Path) -> dict[str, Any]:
    """The values in a recipe's file."""
    return read_mapping(root / RECIPES / f"{name}.yaml", "a recipe is a mapping of sections, as in tiny.yaml")


def put(values: Mapping[str, Any], changes: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    """A copy of a recipe's values with others at some paths."""
    changed = copy.deepcopy(dict(values))
    for path, value in changes.items():
        inner = changed
        for part in path[:-1]:
            if not isinstance(inner.get(part), dict):
                inner[part] = {}
            inner = inner[part]
        inner[path[-1]] = value
    return changed


def own(settings: Sequence[Setting], recipe: Recipe) -> dict[str, Any] | None:
    """The recipe's own settings as Optuna would have drawn them; None where one lies outside of the space."""
    dumped, found = recipe.model_dump(mode="json"), dict[str, Any]()
    for setting in settings:
        value: Any = dumped
        for part in setting.path:
            value = value.get(part) if isinstance(value, dict) else None
        found[setting.key] = setting.drawn(value)
    return None if None in found.values() else found
