"""The recipe: one YAML file that names everything a model needs, checked by one schema.

    recipe = load("speeches")        # pipelines/recipes/speeches.yaml; pipelines/recipe/load.py

`task.kind` and `model.kind` choose the keys of five sections: `task`, `data`, `evaluate` and `export` are the task's,
`model` is the model's. This module puts the sections together; it imports no stage and no torch.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model, field_validator

from base.errors import MetrolineError
from data.fetch.sources import Source
from data.split import SplitConfig
from pipelines.recipe import kinds
from pipelines.recipe.gates import Gate
from pipelines.recipe.sections import PretrainedConfig, ReleaseConfig, ServingConfig
from pipelines.recipe.train_section import TrainConfig

NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


class Recipe(BaseModel):
    """A model's whole line: where its data comes from, how it is trained, exported, judged and served."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    description: str
    licence: str = Field(description="licence of the data, shown in the model card")
    source: Source = Field(description="the data; with pretrained weights it is what they are judged on")
    pretrained: PretrainedConfig = PretrainedConfig()
    data: Any = Field(default=None, description="how raw files become examples; its keys are the task's")
    split: SplitConfig = SplitConfig()
    model: Any = Field(default=None, description="the network; `kind` chooses it and its keys")
    task: Any = Field(default=None, description="what is learnt; `kind` chooses it and its keys")
    train: TrainConfig = TrainConfig()
    evaluate: Any = Field(default=None, description="how the test split is judged; its keys are the task's")
    export: Any = Field(default=None, description="what is exported, and how closely it must agree; the task's")
    serving: ServingConfig = ServingConfig()
    release: ReleaseConfig = ReleaseConfig()
    gates: tuple[str, ...] = ()

    @field_validator("name")
    @classmethod
    def _name(cls, name: str) -> str:
        return check_name(name)

    @field_validator("gates")
    @classmethod
    def _gates(cls, gates: tuple[str, ...]) -> tuple[str, ...]:
        for gate in gates:
            Gate.parse(gate)
        return gates

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings, in lower case, of the user's own files that count: what `data` reads; `("",)` is any."""
        found: tuple[str, ...] = getattr(self.data, "suffixes", ("",))
        return found

    @staticmethod
    def of(values: Mapping[str, Any]) -> "Recipe":
        """The recipe of these values. Raises MetrolineError for an unknown kind, pydantic's ValidationError else."""
        return schema_of(values).model_validate(values)


def schema_of(values: Mapping[str, Any]) -> type[Recipe]:
    """The schema for a recipe's kinds of task and model. Raises MetrolineError for one that is not there."""
    return schema(_kind(values, "task", kinds.TASK), _kind(values, "model", kinds.MODEL))


@cache
def schema(task: str, model: str) -> type[Recipe]:
    """The schema of recipes with this kind of task and of model. Raises MetrolineError for one that is not there."""
    sections = {**kinds.task(task).sections, "model": kinds.model_config(model)}
    fields: dict[str, Any] = {
        name: (section, _field(section, Recipe.model_fields[name].description)) for name, section in sections.items()
    }
    return create_model("Recipe", __base__=Recipe, __doc__=Recipe.__doc__, **fields)


def _field(section: Any, description: str | None) -> Any:
    """A section's field: its defaults where it has them; a union of kinds (as of `data`) must be there."""
    if isinstance(section, type):
        return Field(default_factory=section, description=description)
    return Field(description=description)


def check_name(name: str) -> str:
    """Return `name` when it can be a recipe's name (it becomes part of paths, stage names and model tags)."""
    if not NAME.fullmatch(name):
        raise MetrolineError(f"{name!r} is not a recipe name", hint="lower-case letters, digits and inner hyphens")
    return name


def _kind(values: Mapping[str, Any], section: str, default: str) -> str:
    found = values.get(section)
    if isinstance(found, str):
        raise MetrolineError(f"{section}: {found!r} is no mapping of keys", hint=f"write {section}: {{kind: {found}}}")
    kind = found.get("kind", default) if isinstance(found, Mapping) else default
    if not isinstance(kind, str):
        raise MetrolineError(f"{section}.kind: {kind!r} is not a name")
    return kind
