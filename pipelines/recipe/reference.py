"""Write docs/recipes.md out of the schema, so that the page cannot disagree with the code (a test compares them).

python -m pipelines.recipe.reference > docs/recipes.md
"""

import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipelines.recipe import kinds
from pipelines.recipe.schema import Recipe

HEAD = """# Recipes: every key

A recipe is `pipelines/recipes/NAME.yaml`; NAME is the recipe's name. `metroline init NAME --data FOLDER` writes one for
your own text, table or images (docs/data.md). Or begin with a shipped one and change it; everything that has a default
may be left out.

Own text is `.txt`, `.jsonl` or `.ndjson` (an object a line), each also as `.gz` or `.zst`, and `.parquet`; `init` and
`fetch` say how many files count and what is left out. Links are followed and keep their own names; hidden files and
folders do not count. A packed file that unpacks to more than 100 times its size (and 64 MiB) is refused. What cannot be
read (half a surrogate pair, a time out of range, bytes that are not UTF-8) stops `prepare` with its file and row, or
with `documents.errors: drop` is counted in `stats.json` and listed in `dropped.jsonl`. A file name that is not UTF-8 is
written with backslashes. Under `split.method: tail` documents are cut only where a split would come out empty; `init`
chooses it for fewer than 100 documents.

A name that YAML takes for something else (`2024`, `null`) stands in quotes in params.yaml: `- '2024'`.

Gates compare a measured value with a number or another value: `test.bits_per_byte <= 1.50`. Values are those of
`artifacts/NAME/metrics.json` (`test.loss`, `test.bits_per_byte`, `baselines.xz_bits_per_byte`, ...) and, below
`parity.`, of `parity.json` in the bundle (`parity.onnx.max_abs`; `int8.loss_delta` for short).
"""


def members(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models inside an annotation: of itself, of a union's or a tuple's parts."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in members(part)]


def name_of(annotation: Any) -> str:
    """A type in words: `int`, `"fp32" or "int8"`, `list of str`."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return name_of(parts[0])
    if origin is Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if origin in (Union, types.UnionType):
        return " or ".join("null" if part is type(None) else name_of(part) for part in parts)
    if origin is tuple:
        return f"list of {name_of(parts[0])}" if parts[-1] is Ellipsis else ", ".join(map(name_of, parts))
    if origin is dict:
        return f"mapping of {name_of(parts[0])} to {name_of(parts[1])}"
    if models := members(annotation):
        return f"[{models[0].__name__}](#{models[0].__name__.lower()})"
    return "section" if annotation is Any else str(annotation.__name__)


def default_of(field: FieldInfo) -> str:
    """The default as YAML would have it, `required`, or `computed` where it follows from other keys."""
    if field.is_required():
        return "required"
    if field.default is PydanticUndefined:
        return "computed"
    value = field.default
    if isinstance(value, BaseModel):
        return ""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value) if isinstance(value, tuple) else value) if value != "" else '""'


def table(model: type[BaseModel]) -> str:
    """One section's keys."""
    rows = ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for key, field in model.model_fields.items():
        meaning = " ".join((field.description or "").replace("|", "\\|").split())
        rows.append(f"| `{key}` | {name_of(field.annotation)} | {default_of(field)} | {meaning} |")
    return "\n".join(rows)


def page() -> str:
    """The whole page, Markdown: the sections that all recipes share, then those of each kind of task and of model."""
    done: set[type[BaseModel]] = {Recipe}
    parts = [HEAD, "## The whole recipe\n", table(Recipe), "", *_below(Recipe, done)]
    for kind in kinds.names(kinds.TASKS):
        parts += [f"# Task `{kind}`\n", f"The keys of `{'`, `'.join(kinds.task(kind).sections)}`, in this order.\n"]
        for section in kinds.task(kind).sections.values():
            parts += [line for model in members(section) for line in _section(model, done)]
    for kind in kinds.names(kinds.MODELS):
        parts += [f"# Model `{kind}`\n", *_section(kinds.model_config(kind), done)]
    return "\n".join(parts)


def _section(model: type[BaseModel], done: set[type[BaseModel]]) -> list[str]:
    """One model and all that are inside it and were not shown before."""
    if model in done:
        return []
    done.add(model)
    summary = " ".join((model.__doc__ or "").split())
    return [f"## {model.__name__}\n", f"{summary}\n", table(model), "", *_below(model, done)]


def _below(model: type[BaseModel], done: set[type[BaseModel]]) -> list[str]:
    inner = [part for field in model.model_fields.values() for part in members(field.annotation)]
    return [line for part in inner for line in _section(part, done)]


if __name__ == "__main__":
    print(page(), end="")
