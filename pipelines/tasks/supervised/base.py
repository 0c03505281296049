"""What the tasks that learn from labelled items have in common: all but their sections and their values."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from base.errors import nearest
from pipelines.tasks.interface import Card, Forward, Measured
from pipelines.tasks.prepared import PreparedTask
from pipelines.tasks.supervised.metrics import GAIN

if TYPE_CHECKING:
    from pipelines.tasks.supervised.learner import Supervised


class SupervisedTask(PreparedTask):
    """`pipelines.tasks.interface.Task`, but for `sections` and `measured`."""

    engine: ClassVar[Literal["forward"]] = "forward"
    what: ClassVar[Literal["classification", "regression"]]
    """Whether the answer is a label or a number."""
    values: ClassVar[tuple[str, ...]]
    """Names of what is measured of the test split, any of which may be the primary value."""

    def problems(self) -> Iterator[str]:
        """What sections can contradict each other in."""
        from pipelines.tasks.supervised.begin_problems import problems_of_first

        name = self.recipe.evaluate.primary
        if name and name not in self.values:
            yield f"evaluate.primary: nothing measured is called {name}; {nearest(name, self.values)}"
        yield from problems_of_first(self.recipe)
        if (target := getattr(self.recipe.data, "target", None)) in getattr(self.recipe.data, "drop", ()):
            yield f"data.drop: {target} is data.target, which is no input anyway"

    def prepare(self, raw: Path, out: Path, pretrained: Path | None) -> None:
        """Labelled files → records with the signature and what is fitted on train."""
        from pipelines.tasks.supervised.prepare import prepare

        prepare(self.recipe, raw, out, self.what, pretrained)

    def learner(self, prepared: Path, first: Path | None) -> "Supervised":
        """See `learner.Supervised`."""
        from pipelines.tasks.supervised.learner import Supervised

        return Supervised(self.recipe, prepared, first)

    def measure(self, checkpoint: Path, prepared: Path, folder: Path, first: Path | None) -> Measured:
        """See `measure.measure`."""
        from pipelines.tasks.supervised.measure import measure

        return measure(self.recipe, checkpoint, prepared, folder)

    def exportable(self, checkpoint: Path, prepared: Path) -> Forward:
        """See `exportable.exportable`."""
        from pipelines.tasks.supervised.exportable import exportable

        return exportable(self.recipe, checkpoint, prepared)

    def card(self, folder: Path, evaluation: Path, metrics: Mapping[str, Any], parity: Mapping[str, Any]) -> Card:
        """See `card.card`."""
        from pipelines.tasks.supervised.card import card

        return card(self.recipe, folder, metrics, parity)


def every_name(values: tuple[str, ...], references: tuple[str, ...]) -> tuple[str, ...]:
    """Names in metrics.json of these values: of the model, its floor and the references; and of parity.json."""
    models = ("floor", *references)
    return (
        *(f"test.{name}" for name in (*values, *GAIN, "items")),
        *(f"baselines.{model}_{name}" for model in models for name in values),
        "parity.onnx.max_abs",
    )
