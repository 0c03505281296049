"""A recipe for the user's own text: `metroline init NAME --data PATH`.

It writes one YAML file and one line of params.yaml, and pins the data by its hash. It reads no text: what is in the
files is `prepare`'s to judge.
"""

import re
from contextlib import suppress
from pathlib import Path

import yaml

from base.errors import MetrolineError
from base.files import write_text
from data.fetch.sources import FileSource, pin
from pipelines.recipe.load import RECIPES, read_params, unknown_recipe
from pipelines.recipe.load import load as load_recipe
from pipelines.recipe.schema import check_name

FEW = 20
"""Below this many .txt documents a split by document would leave some split empty; the text is cut by position then."""

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


def create(name: str, data: Path, root: Path) -> Path:
    """Write the recipe and list it in params.yaml. Returns its path.

    Raises MetrolineError: bad or taken name, no data there, a broken params.yaml. Nothing is written then.
    """
    check_name(name)
    path = root / RECIPES / f"{name}.yaml"
    if path.exists():
        hint = f"choose another name, or pin changed data with: metroline init {name} --data {data} --update"
        raise MetrolineError(f"there is a recipe {name} already", hint=hint)
    source = pin(data)
    params = read_params()
    text = TEMPLATE.format(
        name=name,
        description=quoted(f"text of {data.name}"),
        path=quoted(_shortest(data, root)),
        sha256=source.sha256,
        split="{method: tail} # by position: few documents" if _few(data) else "{method: hash} # by document",
    )
    listed = (root / "params.yaml").read_text(encoding="utf-8")
    write_text(path, text)
    try:
        load_recipe(name, root)
        if name not in (params.get("recipes") or []):
            write_text(root / "params.yaml", _with_recipe(listed, name))
    except BaseException:
        path.unlink()
        raise
    return path


def repin(name: str, data: Path, root: Path) -> Path:
    """Put the hash and path of changed data into an existing recipe; all else, comments too, stays as it is."""
    path = root / RECIPES / f"{name}.yaml"
    if not path.is_file():
        raise unknown_recipe(name, root)
    recipe = load_recipe(name, root)
    if not isinstance(recipe.source, FileSource):
        raise MetrolineError(
            f"recipe {name} takes its data from a {recipe.source.kind} source, not from your own files"
        )
    source = pin(data, glob=recipe.source.glob)
    text = path.read_text(encoding="utf-8").replace(recipe.source.sha256, source.sha256)
    if (shortest := _shortest(data, root)) != recipe.source.path:
        text = re.sub(r"(?m)^(\s+path:) .*$", lambda match: f"{match[1]} {quoted(shortest)}", text, count=1)
    write_text(path, text)
    load_recipe(name, root)
    return path


def quoted(text: str) -> str:
    """Any text as one YAML scalar."""
    return str(yaml.safe_dump(text, allow_unicode=True, width=10_000)).removesuffix("\n").removesuffix("\n...")


def _few(data: Path) -> bool:
    """Whether there are so few documents that they cannot be shared out between splits."""
    if data.is_file():
        return data.suffix.lower() == ".txt"
    kinds = [file.suffix.lower() for file in data.rglob("*") if file.is_file()]
    return ".jsonl" not in kinds and ".parquet" not in kinds and kinds.count(".txt") < FEW


def _shortest(data: Path, root: Path) -> str:
    """Relative to the project where the data lies inside it: the project may move."""
    return data.relative_to(root).as_posix() if data.is_relative_to(root) else str(data)


def _with_recipe(params: str, name: str) -> str:
    """params.yaml with one more recipe, comments kept."""
    lines = params.splitlines()
    start = next((index for index, text in enumerate(lines) if re.match(r"recipes\s*:", text)), None)
    if start is None:
        return "\n".join([*lines, "recipes:", f"- {name}"]) + "\n"
    end = start + 1
    for index in range(start + 1, len(lines)):
        if re.match(r"\s*- ", lines[index]):
            end = index + 1
        elif lines[index].strip() and not lines[index].lstrip().startswith("#"):
            break
    indent = re.match(r"\s*", lines[end - 1])[0] if end > start + 1 else ""  # type: ignore[index]
    changed = "\n".join([*lines[:end], f"{indent}- {name}", *lines[end:]]) + "\n"
    with suppress(yaml.YAMLError, TypeError):
        if name in yaml.safe_load(changed)["recipes"]:
            return changed
    raise MetrolineError("params.yaml: its `recipes` is no list with one entry a line", hint=f"add {name} yourself")
