"""Classification: which of some labels an image, a text or a row of a table has."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from base.errors import nearest
from base.files import read_object
from pipelines.tasks.interface import Card, Forward, Measured
from pipelines.tasks.supervised import metrics as values
from pipelines.tasks.supervised.begin import problems_of_first
from pipelines.tasks.supervised.config import DataConfig, EvaluateConfig, ExportConfig

if TYPE_CHECKING:
    from data.signature import Signature
    from pipelines.recipe.schema import Recipe
    from pipelines.tasks.supervised.learner import Supervised


class ClassificationConfig(BaseModel):
    """Choose one label of several."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["classification"] = "classification"
    threshold: Literal["likeliest", "f1"] = Field(
        default="likeliest", description="how an answer is chosen of two labels: f1: from the score of the second one "
                                         "on at which F1 on valid is highest"
    )  # fmt: skip


class Task:
    """`pipelines.tasks.interface.Task`."""

    engine: ClassVar[Literal["forward"]] = "forward"
    sections: ClassVar[Mapping[str, Any]] = {
        "task": ClassificationConfig,
        "data": DataConfig,
        "evaluate": EvaluateConfig,
        "export": ExportConfig,
    }
    measured: ClassVar[tuple[str, ...]] = (
        *(f"test.{name}" for name in (*values.CLASSIFICATION, *values.BINARY)),
        *(f"baselines.floor_{name}" for name in (*values.CLASSIFICATION[:-1], *values.BINARY)),
        *(
            f"baselines.{model}_{name}"
            for model in values.REFERENCES
            for name in (*values.CLASSIFICATION[:-1], *values.BINARY)
        ),
        "parity.onnx.max_abs",
    )

    def __init__(self, recipe: "Recipe") -> None:
        self.recipe = recipe

    def problems(self) -> Iterator[str]:
        """What only this task's sections can contradict each other in."""
        name = self.recipe.evaluate.primary
        if name and name not in (known := (*values.CLASSIFICATION[:-1], *values.BINARY)):
            yield f"evaluate.primary: nothing measured is called {name}; {nearest(name, known)}"
        yield from problems_of_first(self.recipe)
        if (data := self.recipe.data).kind != "images" and data.target in getattr(data, "drop", ()):
            yield f"data.drop: {data.target} is data.target, which is no input anyway"

    def prepare(self, raw: Path, out: Path, pretrained: Path | None) -> None:
        """Labelled files → records with the signature and what is fitted on train."""
        from pipelines.tasks.supervised.prepare import prepare

        prepare(self.recipe, raw, out, "classification", pretrained)

    def learner(self, prepared: Path, first: Path | None) -> "Supervised":
        """See `learner.Supervised`."""
        from pipelines.tasks.supervised.learner import Supervised

        return Supervised(self.recipe, prepared, first)

    def measure(self, checkpoint: Path, prepared: Path, folder: Path) -> Measured:
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

    def signature(self, prepared: Path) -> "Signature":
        """What prepare stored."""
        from data.signature import Signature

        return Signature.model_validate(read_object(prepared / "index.json")["signature"])
