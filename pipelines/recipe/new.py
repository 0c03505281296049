"""A recipe for the user's own text: `metroline init NAME --data PATH`.

It writes one YAML file and one line of params.yaml, and pins the data by its hash. Of the text it only asks whether
there are few documents: what is in the files is `prepare`'s to judge.
"""

import os
import re
from contextlib import suppress
from itertools import islice
from pathlib import Path

import yaml

from base.errors import MetrolineError
from base.files import write_text
from base.writable import check_writable
from base.yaml_files import Loader, quoted, read_text, with_values
from data.fetch.compressed import unpacked_name
from data.fetch.own_files import OwnFiles, has_suffix, own_files
from data.fetch.sources import FileSource, pin
from data.text.documents import DocumentsConfig, read
from pipelines.recipe.load import RECIPES, listed_recipes, unknown_recipe
from pipelines.recipe.load import load as load_recipe
from pipelines.recipe.schema import check_name

FEW = 100
"""Below this many documents a split by document may well leave one empty (of 25, one time in three); the text is cut by
position then."""

TEMPLATE = """\
# {name}: your own text. Every section has defaults: `metroline run {name}` says which key it does not know.
description: {description}
licence: not stated # shown in the model card; write down what you may do with the text

source:
  kind: file
  path: {path}
  sha256: {sha256} # of the data as it is now; after a change: metroline init {name} --data PATH --update

pretrained: {{}}

data:
  documents: {{}} # text_field: for .jsonl and .parquet; separator: "\\n\\n" makes many documents of one .txt
  clean: {{}} # what is dropped, and the near duplicates
  tokenizer: {{kind: bpe, vocabulary: 2048}} # char: one token a character, for small corpora

split: {split}

model: # about 3 million parameters
  context: 256
  layers: 5
  width: 192
  heads: 3
  qk_norm: true

task: {{kind: language-modelling}}

train: # about 3 minutes on 2 cores; more steps give a better model
  steps: 320
  batch: 16
  sequence: 256
  optimizer: muon
  lr: 0.02
  adam_lr: 0.003
  weight_decay: 0.0
  schedule: wsd
  warmup: 20
  decay: 0.5
  final_lr: 0.0
  evaluate_every: 80

evaluate: {{}}
export: {{}}
release: {{keep: 5}}
serving: {{max_tokens: 256, precision: int8}}

gates: # without these bounds nothing is released; bigram counts must always be beaten
  - int8.loss_delta <= 0.02
"""


def absolute(data: Path) -> Path:
    """The path from the root, with the names that links in it have: `current` may be another folder tomorrow."""
    data = data.expanduser().absolute()
    short = Path(os.path.normpath(data))
    return short if short.resolve() == data.resolve() else data  # `link/..` is not where the link lies


def create(name: str, data: Path, root: Path) -> tuple[Path, OwnFiles]:
    """Write the recipe and list it in params.yaml. Returns its path, and which of the data count.

    Raises MetrolineError: bad or taken name, no data there, a broken params.yaml. Nothing is written then.
    """
    check_name(name)
    path = root / RECIPES / f"{name}.yaml"
    if path.exists():
        hint = f"choose another name, or pin changed data with: metroline init {name} --data {data} --update"
        raise MetrolineError(f"there is a recipe {name} already", hint=hint)
    check_writable(root, (".", RECIPES))
    source, own = pin(data), own_files(data, "**/*", name=name)
    others = listed_recipes()
    text = TEMPLATE.format(
        name=name,
        description=quoted(f"text of {data.name}"),
        path=quoted(_shortest(data, root)),
        sha256=quoted(source.sha256),
        split="{method: tail} # by position: few documents" if _few(own) else "{method: hash} # by document",
    )
    listed = read_text(root / "params.yaml")
    write_text(path, text)
    try:
        load_recipe(name, root)
        if name not in others:
            write_text(root / "params.yaml", _with_recipe(listed, name))
    except BaseException:
        path.unlink()
        raise
    return path, own


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
    source = pin(data, glob=recipe.source.glob)
    values = {"sha256": source.sha256}
    if (shortest := _shortest(data, root)) != recipe.source.path:
        values["path"] = shortest
    with suppress(yaml.YAMLError, LookupError):
        text = with_values(read_text(path), "source", values)
        if yaml.load(text, Loader)["source"].items() >= values.items():
            write_text(path, text)
            load_recipe(name, root)
            return path, own_files(data, recipe.source.glob, name=name)
    said = "; ".join(f"source.{key}: {value}" for key, value in values.items())
    raise MetrolineError(f"{path}: the values of its source stand elsewhere", hint=f"write them yourself: {said}")


def _few(own: OwnFiles) -> bool:
    """Whether there are so few documents that they cannot be shared out between splits.

    A text file is one. Of the others rows are read until there are enough, those without `text` too: the recipe may
    name another field.
    """
    rows = {str(file): file for file in own.files if not has_suffix(unpacked_name(file), (".txt",))}
    texts = len(own.files) - len(rows)
    with suppress(MetrolineError):  # damaged, or no column `text`: prepare says so
        return texts + sum(1 for _ in islice(read(rows, DocumentsConfig(errors="drop")), FEW)) < FEW
    return False


def _shortest(data: Path, root: Path) -> str:
    """Relative to the project where the data lies inside it: the project may move."""
    inside = (path for path in (data, data.parent.resolve() / data.name) if path.is_relative_to(root))
    return next((path.relative_to(root).as_posix() for path in inside), str(data))


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
