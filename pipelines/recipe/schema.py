"""The recipe: one YAML file that names everything a model needs, checked by one schema.

    metroline run speeches        # pipelines/recipes/speeches.yaml

Each layer owns the schema of its own section; this file only puts them together, fills in defaults and turns
schema errors into one clear line each. It imports no torch, so that asking for a recipe is quick.
"""

import difflib
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from base.errors import MetrolineError, nearest
from base.yaml_files import read_yaml
from data.fetch.sources import Source
from data.split import SplitConfig
from data.text.clean import CleanConfig
from data.text.documents import DocumentsConfig
from data.text.tokenizer import TokenizerConfig
from models.decoder.config import DecoderConfig
from pipelines.exporting.stage import ExportConfig
from pipelines.recipe.consistency import problems
from pipelines.recipe.gates import Gate
from pipelines.recipe.train_section import TrainConfig
from pipelines.release.stage import ReleaseConfig
from pipelines.tasks.language_modelling.evaluate import EvaluateConfig

RECIPES = Path("pipelines/recipes")
NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


class ServingConfig(BaseModel):
    """How the endpoint serves this recipe; written into the bundle as `serving.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_tokens: int = Field(default=256, ge=1, description="most tokens that one request may ask for")
    precision: Literal["auto", "fp32", "int8", "int4"] = Field(
        default="int8", description="which graph of the bundle answers; auto: the fastest on the machine that serves"
    )


class PretrainedConfig(BaseModel):
    """Weights that others have trained. Stage `train` then imports them; `model` and `train` stay empty."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Source | None = Field(
        default=None,
        description="one .gguf file (Llama) or the files of a Hugging Face folder (Llama, Qwen3, Arcee, GPT-2; "
        "safetensors); null: weights are trained",
    )


class Recipe(BaseModel):
    """A model's whole line: where its data comes from, how it is trained, exported, judged and served."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    description: str
    licence: str = Field(description="licence of the data, shown in the model card")
    source: Source = Field(description="the text; with pretrained weights it is what they are judged on")
    pretrained: PretrainedConfig = PretrainedConfig()
    documents: DocumentsConfig = DocumentsConfig()
    clean: CleanConfig = CleanConfig()
    split: SplitConfig = SplitConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: DecoderConfig = DecoderConfig()
    task: Literal["language-modelling"] = "language-modelling"
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    export: ExportConfig = ExportConfig()
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

    @classmethod
    def load(cls, name: str, root: Path = Path(".")) -> "Recipe":
        """Read and check the recipe `name` below `root`. Raises MetrolineError: no such recipe, bad YAML, bad value."""
        path = root / RECIPES / f"{name}.yaml"
        if not path.is_file():
            raise unknown_recipe(name, root)
        values = read_yaml(path)
        if not isinstance(values, dict):
            raise MetrolineError(f"{path}: a recipe is a mapping of sections, not {type(values).__name__}")
        try:
            recipe = cls.model_validate({"name": name, **values})
        except ValidationError as error:
            raise MetrolineError(f"{path}: " + "; ".join(describe(cls, entry) for entry in error.errors())) from None
        if recipe.name != name:
            raise MetrolineError(f"{path}: says name: {recipe.name}", hint=f"the file's name makes it {name}")
        if found := list(problems(recipe)):
            raise MetrolineError(f"{path}: " + "; ".join(found))
        return recipe


def names(root: Path = Path(".")) -> list[str]:
    """All recipes below `root`, sorted."""
    return sorted(path.stem for path in (root / RECIPES).glob("*.yaml"))


def check_name(name: str) -> str:
    """Return `name` when it can be a recipe's name (it becomes part of paths, stage names and model tags)."""
    if not NAME.fullmatch(name):
        raise MetrolineError(f"{name!r} is not a recipe name", hint="lower-case letters, digits and inner hyphens")
    return name


def unknown_recipe(name: str, root: Path) -> MetrolineError:
    """The error for a recipe that is not there, with the nearest one that is."""
    return MetrolineError(f"no recipe {name!r} in {root / RECIPES}", hint=nearest(name, names(root)))


def describe(schema: type[BaseModel], error: Any) -> str:
    """One pydantic error as `train.lr: what is wrong`, with the nearest known key for an unknown one."""
    location = [str(part) for part in error["loc"]]
    where = ".".join(location) or "recipe"
    if error["type"] != "extra_forbidden":
        message = str(error["msg"]).removeprefix("Value error, ")
        return f"{where}: {message}"
    near = difflib.get_close_matches(location[-1], known_keys(schema, location[:-1]), n=1)
    return f"{where}: unknown key" + (f", did you mean {near[0]}?" if near else "")


def known_keys(schema: Any, location: list[str]) -> list[str]:
    """The keys that the section at `location` of a schema takes (for a union, those of all its members)."""
    resolved = [schema]
    for part in location:
        children = [model.model_fields[part].annotation for model in resolved if part in model.model_fields]
        resolved = [model for child in children for model in _models(child)] or resolved
    return sorted({key for model in resolved for key in model.model_fields})


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models(part)]
