"""A recipe for the user's own data: `metroline init NAME --data PATH`.

It writes one YAML file and one line of params.yaml, and pins the data by its hash. What the data is and which recipe
suits it is pipelines/recipe/own's to find.
"""

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import yaml

from base.errors import MetrolineError
from base.files import write_text
from base.writable import check_writable
from base.yaml_files import Loader, quoted, read_text, with_values
from data.fetch.own_files import OwnFiles, own_files
from data.fetch.sources import FileSource, pin
from pipelines.recipe import kinds
from pipelines.recipe.load import RECIPES, listed_recipes, unknown_recipe
from pipelines.recipe.load import load as load_recipe
from pipelines.recipe.own import chats
from pipelines.recipe.own.found import Found
from pipelines.recipe.own.look import TaskName, look
from pipelines.recipe.schema import check_name
from pipelines.recipe.sections import OwnSource, RecipeSource


def absolute(data: Path) -> Path:
    """The path from the root, with the names that links in it have: `current` may be another folder tomorrow."""
    data = data.expanduser().absolute()
    short = Path(os.path.normpath(data))
    return short if short.resolve() == data.resolve() else data  # `link/..` is not where the link lies


def create(
    name: str,
    data: Path,
    root: Path,
    *,
    target: str | None = None,
    task: TaskName | None = None,
    drop: Sequence[str] = (),
    encoding: str | None = None,
    base: str | None = None,
) -> tuple[Path, Found]:
    """Write the recipe and list it in params.yaml. Returns its path, and what the data is.

    `target`: the column of a table to predict; `drop`: those that are no input; `encoding`: of its text;
    `task` overrides what the data says. `base`: the recipe whose model learns the chats that the data is.
    Raises MetrolineError: bad or taken name, no data there, data that may be several things, a broken params.yaml.
    Nothing is written then.
    """
    check_name(name)
    path = root / RECIPES / f"{name}.yaml"
    if path.exists():
        hint = f"choose another name, or pin changed data with: metroline init {name} --data {data} --update"
        raise MetrolineError(f"there is a recipe {name} already", hint=hint)
    check_writable(root, (".", RECIPES))
    if base is not None:
        if target is not None or task is not None or drop or encoding:
            raise MetrolineError("--from teaches chats, which have no --target, --task, --drop and --encoding")
        check_base(base, root)
        found = chats.look(data, name, base)
    else:
        found = look(data, name, target, task, drop, encoding)
    source = pin(data, suffixes=found.suffixes)
    others = listed_recipes()
    text = found.recipe(
        name=name,
        description=quoted(f"{found.about} {data.name}"),
        path=quoted(_shortest(data, root)),
        sha256=quoted(source.sha256),
    )
    listed = read_text(root / "params.yaml")
    write_text(path, text)
    try:
        begins = load_recipe(name, root).pretrained.source
        if name not in others:
            more = _with_recipe(listed, name)
            if isinstance(begins, OwnSource):
                more = _with_base(more, "bases" if isinstance(begins, RecipeSource) else "releases", name, begins.name)
            write_text(root / "params.yaml", more)
    except BaseException:
        path.unlink()
        raise
    return path, found


def repin(name: str, data: Path, root: Path) -> tuple[Path, OwnFiles]:
    """Put the hash and path of changed data into an existing recipe; all else, comments too, stays as it is."""
    path = root / RECIPES / f"{name}.yaml"
    if not path.is_file():
        raise unknown_recipe(name, root)
    check_writable(root, (RECIPES,))
    recipe = load_recipe(name, root)
    if not isinstance(recipe.source, FileSource):
        raise MetrolineError(
            f"recipe {name} takes its data from a {recipe.source.kind} source, not from your own files"
        )
    source = pin(data, glob=recipe.source.glob, suffixes=recipe.suffixes)
    values = {"sha256": source.sha256}
    if (shortest := _shortest(data, root)) != recipe.source.path:
        values["path"] = shortest
    with suppress(yaml.YAMLError, LookupError):
        text = with_values(read_text(path), "source", values)
        if yaml.load(text, Loader)["source"].items() >= values.items():
            write_text(path, text)
            load_recipe(name, root)
            return path, own_files(data, recipe.source.glob, name=name, suffixes=recipe.suffixes)
    said = "; ".join(f"source.{key}: {value}" for key, value in values.items())
    raise MetrolineError(f"{path}: the values of its source stand elsewhere", hint=f"write them yourself: {said}")


def _shortest(data: Path, root: Path) -> str:
    """Relative to the project where the data lies inside it: the project may move."""
    inside = (path for path in (data, data.parent.resolve() / data.name) if path.is_relative_to(root))
    return next((path.relative_to(root).as_posix() for path in inside), str(data))


def check_base(name: str, root: Path) -> None:
    """Raise MetrolineError unless there is such a recipe, whose model can be taught chats."""
    if not (root / RECIPES / f"{name}.yaml").is_file():
        raise unknown_recipe(name, root)
    recipe = load_recipe(name, root)
    if kinds.task(recipe.task.kind).engine != "decode" or recipe.model.kind != "decoder":
        raise MetrolineError(
            f"--from {name}: its {recipe.task.kind} by a {recipe.model.kind} is no model that chats",
            hint="name a recipe of a language model, such as smollm2",
        )


def _with_base(params: str, section: str, name: str, base: str) -> str:
    """params.yaml with what one recipe begins with, in `bases` or `releases`; comments kept."""
    entry = f"  {quoted(name)}: {quoted(base)}"
    lines = params.splitlines()
    start = next((index for index, text in enumerate(lines) if re.match(rf"{section}\s*:", text)), None)
    if start is None:
        lines += [f"{section}:", entry]
    else:
        lines[start : start + 1] = [re.sub(r"\{\s*\}", "", lines[start]).rstrip(), entry]
    changed = "\n".join(lines) + "\n"
    with suppress(yaml.YAMLError, TypeError, LookupError):
        if yaml.load(changed, Loader)[section][name] == base:
            return changed
    raise MetrolineError(
        f"params.yaml: its `{section}` is no mapping with one entry a line",
        hint=f"add `{entry.strip()}` to it yourself",
    )


def _with_recipe(params: str, name: str) -> str:
    """params.yaml with one more recipe, comments kept."""
    lines = params.splitlines()
    start = next((index for index, text in enumerate(lines) if re.match(r"recipes\s*:", text)), None)
    if start is None:
        return "\n".join([*lines, "recipes:", f"- {quoted(name)}"]) + "\n"
    end = start + 1
    for index in range(start + 1, len(lines)):
        if re.match(r"\s*- ", lines[index]):
            end = index + 1
        elif lines[index].strip() and not lines[index].lstrip().startswith("#"):
            break
    indent = re.match(r"\s*", lines[end - 1])[0] if end > start + 1 else ""  # type: ignore[index]
    changed = "\n".join([*lines[:end], f"{indent}- {quoted(name)}", *lines[end:]]) + "\n"
    with suppress(yaml.YAMLError, TypeError):
        if name in yaml.load(changed, Loader)["recipes"]:
            return changed
    raise MetrolineError("params.yaml: its `recipes` is no list with one entry a line", hint=f"add {name} yourself")
