"""Judge a checkpoint on the test split: values, floors, references, groups, pictures, the drift reference."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from base.files import write_json
from data.drift import reference
from data.signature import LabelsOutput
from pipelines.tasks.bootstrap import interval
from pipelines.tasks.interface import Measured, Primary
from pipelines.tasks.supervised import floors, metrics, pictures
from pipelines.tasks.supervised.examples import Examples
from pipelines.tasks.supervised.network import Answers, load
from pipelines.tasks.supervised.predict import predict

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe


def measure(recipe: "Recipe", checkpoint: Path, prepared: Path, folder: Path) -> Measured:
    """See the module."""
    train, test = Examples(prepared, "train"), Examples(prepared, "test")
    network, facts = load(recipe.model, test.index, checkpoint)
    output = test.signature.outputs[0]
    labels = isinstance(output, LabelsOutput)
    answers = predict(Answers(network, labels).eval(), test.inputs)
    threshold = facts.get("threshold")

    def judge(given: NDArray[Any], rows: Any = slice(None), only: str = "") -> dict[str, float]:
        if labels:
            own = threshold if given is answers else None
            return metrics.classification(given[rows], test.targets[rows], own, only)
        return metrics.regression(given[rows], test.targets[rows])

    chosen = metrics.primary(recipe.evaluate.primary, labels=labels)
    name = chosen.metric.removeprefix("test.")
    floor = (floors.classification_floor if labels else floors.regression_floor)(train, test)
    baselines = {f"floor_{key}": value for key, value in judge(floor).items()}
    found: dict[str, NDArray[Any]] = {}
    if recipe.evaluate.references:
        found = floors.references(train, test, recipe.evaluate.reference_rows, name)
    baselines |= {f"{model}_{name}": judge(given, only=name)[name] for model, given in found.items()}
    gain = _gain(recipe, chosen, answers, [*found.values()] or [floor], judge)
    groups: dict[str, dict[str, float]] = {}
    for column in recipe.evaluate.groups:
        values = metrics.by_group(
            group(test, column), lambda rows: judge(answers, rows, name)[name], recipe.evaluate.resamples
        )
        groups |= {f"{column}={value or 'none'}": {name: each.pop("value"), **each} for value, each in values.items()}
    if isinstance(output, LabelsOutput):
        pictures.confusion(folder / "confusion.png", metrics.decide(answers, threshold), test.targets, output.labels)
        pictures.reliability(folder / "reliability.png", answers, test.targets)
    else:
        pictures.scatter(folder / "scatter.png", answers[:, 0], test.targets, recipe.data.target)
    write_json(folder / "reference.json", reference(test.signature, seen(test), ((row,) for row in answers)))
    return Measured({**judge(answers), **gain, "items": len(test)}, chosen, baselines, groups)


def _gain(
    recipe: "Recipe", chosen: Primary, answers: NDArray[Any], others: Sequence[NDArray[Any]], judge: Callable[..., Any]
) -> dict[str, float]:
    """`metrics.GAIN` of `answers` over the best of the `others`."""
    name = chosen.metric.removeprefix("test.")
    sign, everything = (1 if chosen.better == "higher" else -1), np.arange(len(answers))
    best = max(others, key=lambda given: sign * judge(given, only=name)[name])

    def gain(rows: NDArray[np.int64]) -> float:
        return float(sign * (judge(answers, rows, name)[name] - judge(best, rows, name)[name]))

    low, high = interval(gain, everything, recipe.evaluate.resamples)
    return dict(zip(metrics.GAIN, (gain(everything), low, high), strict=True))


def seen(test: Examples) -> Iterator[tuple[NDArray[Any]]]:
    """Each input as serving decodes it: text without padding, images in their own size."""
    for number in range(len(test)):
        yield (test.decode(test.raw(number)[0]),)


def group(test: Examples, column: str) -> list[str]:
    """The value of a column in each row of a table, or what is noted about it under that name."""
    if test.signature.inputs[0].kind == "table" and any(
        each.name == column for each in test.signature.inputs[0].columns
    ):
        return [str(json.loads(test.raw(number)[0])[column]) for number in range(len(test))]
    return test.group(column)
