"""Read a recipe's YAML file, and turn what is wrong with it into one clear line.

load("speeches")        # pipelines/recipes/speeches.yaml below the working folder
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from base.errors import MetrolineError, nearest, printable
from base.yaml_files import read_mapping
from pipelines.recipe.consistency import problems
from pipelines.recipe.schema import Recipe, schema_of

RECIPES = Path("pipelines/recipes")


def load(name: str, root: Path = Path(".")) -> Recipe:
    """Read and check the recipe `name` below `root`. Raises MetrolineError: no such recipe, bad YAML, bad value."""
    path = root / RECIPES / f"{name}.yaml"
    if not path.is_file():
        raise unknown_recipe(name, root)
    return checked(name, read_mapping(path, "a recipe is a mapping of sections, as in tiny.yaml"), str(path))


def checked(name: str, values: Mapping[str, Any], where: str) -> Recipe:
    """The recipe `name` of these values. Raises MetrolineError, which begins with `where`, for any that is wrong."""
    try:
        schema = schema_of(values)
    except MetrolineError as error:
        raise MetrolineError(f"{where}: {error}") from None
    try:
        recipe = schema.model_validate({"name": name, **values})
    except ValidationError as error:
        raise MetrolineError(f"{where}: " + "; ".join(describe(schema, entry) for entry in error.errors())) from None
    if recipe.name != name:
        raise MetrolineError(f"{where}: says name: {recipe.name}", hint=f"the file's name makes it {name}")
    if found := list(problems(recipe)):
        raise MetrolineError(f"{where}: " + "; ".join(found))
    return recipe


def names(root: Path = Path(".")) -> list[str]:
    """All recipes below `root`, sorted."""
    return sorted(path.stem for path in (root / RECIPES).glob("*.yaml"))


def listed_recipes() -> list[str]:
    """The recipes of params.yaml, for which DVC makes stages. Raises MetrolineError when it is no list of names."""
    listed = read_mapping(Path("params.yaml"), "it needs a list `recipes:`").get("recipes") or []
    if not isinstance(listed, list):
        raise MetrolineError("params.yaml: `recipes` is no list", hint="one `- NAME` a line")
    for number, name in enumerate(listed, 1):
        if not isinstance(name, str):  # DVC would make stages of another name, as train@1000.0 for 1e3
            kind = {"NoneType": "null", "int": "a number", "float": "a number", "bool": "a truth value"}
            word = kind.get(type(name).__name__, f"a {type(name).__name__}")
            said = f"params.yaml: entry {number} of `recipes` is {word} to YAML" + (f": {name}" if name else "")
            raise MetrolineError(said, hint="a recipe's name goes into quotes there, as - '2024'")
    return listed


def listed_bases(section: str = "bases") -> dict[str, str]:
    """The recipes of params.yaml that begin with another one's checkpoint → that one; with `releases` those that begin
    with another one's release. Raises MetrolineError when it is no mapping of names."""
    listed = read_mapping(Path("params.yaml"), "it needs a list `recipes:`").get(section) or {}
    if not isinstance(listed, dict) or not all(isinstance(name, str) for pair in listed.items() for name in pair):
        raise MetrolineError(f"params.yaml: `{section}` is no mapping of names", hint="one `NAME: THE_OTHER` a line")
    return listed


def unknown_recipe(name: str, root: Path) -> MetrolineError:
    """The error for a recipe that is not there, with the nearest one that is."""
    return MetrolineError(f"no recipe {name!r} in {root / RECIPES}", hint=nearest(name, names(root)))


def describe(schema: type[BaseModel], error: Any) -> str:
    """One pydantic error as `train.lr: what is wrong`, with the nearest known key for an unknown one."""
    location = [str(part) for part in error["loc"]]
    where = printable(".".join(location)) or "recipe"
    if error["type"] != "extra_forbidden":
        message = str(error["msg"]).removeprefix("Value error, ")
        return f"{where}: {message}"
    if len(location) == 1 and location[0] in known_keys(schema, ["data"]):
        return f"{where}: stands below data now, as `data: {{{where}: ...}}`"
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
