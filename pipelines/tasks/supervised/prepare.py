"""Fetched files → records of three splits, with the signature and the constants that were fitted on train."""

import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from base.errors import BadItem, MetrolineError
from base.files import atomic_folder, write_json
from base.progress import Progress
from data.codecs import decode
from data.labels import ordered
from data.records import RecordWriter, write_index
from data.signature import Input, LabelsOutput, NumbersOutput, Output, Signature
from data.split import SPLITS
from data.text.tokenizer import Tokenizer
from data.values import number
from pipelines.tasks.supervised.config import TextData
from pipelines.tasks.supervised.divide import divide
from pipelines.tasks.supervised.fit import fit, raw_of, spread_of
from pipelines.tasks.supervised.read import Data, Item, read

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

NAMES = {"table": "tabular", "image": "image", "audio": "audio", "text": "text"}
"""Kind of input → how Hugging Face begins a task's name."""


def prepare(
    recipe: "Recipe",
    raw: Path,
    out: Path,
    what: Literal["classification", "regression"],
    pretrained: Path | None = None,
) -> None:
    """Fill the folder `out`. `pretrained`: the files of the first weights, whose tokenizer is taken.

    Raises MetrolineError, which names file and row: a target that is no number, a label that only valid or test have, a
    column that is the target, an input that serving would refuse.
    """
    data: Data = recipe.data
    divided = divide(list(read(raw, data)), recipe.split, labels=what == "classification")
    train = divided.items["train"]
    with atomic_folder(out) as folder, Progress("prepare", sum(map(len, divided.items.values())), "items") as progress:
        declared, fitted = fit(data, train, folder, pretrained)
        tokenizer = Tokenizer.load(folder / "tokenizer.json") if isinstance(data, TextData) else None
        labels: tuple[str, ...] = ()
        output: Output
        if what == "classification":
            labels = ordered((str(item.target) for item in train), data.labels)
            if unseen := set(labels) - {str(item.target) for item in train}:
                raise MetrolineError(f"data.labels: no item of the train split has the label {min(unseen)!r}")
            output = LabelsOutput(name="label", shape=(len(labels),), labels=labels)
        else:
            fitted |= spread_of([_number(item) for item in train])
            output = NumbersOutput(name=recipe.task.name, shape=(1,), names=(data.target,), units=recipe.task.units)  # type: ignore[union-attr]
        task = f"{NAMES[declared.kind]}-{what}"
        signature = Signature(task=task, inputs=(declared,), outputs=(output,))
        writers = []
        codes = {label: code for code, label in enumerate(labels)}
        for split in SPLITS:
            kind: Literal["int64", "float64"] = "int64" if labels else "float64"
            with RecordWriter(folder, split, target=kind) as writer:
                for where, place, reason in divided.dropped:
                    if where == split:
                        writer.drop(place, reason)
                for item in divided.items[split]:
                    content = raw_of(declared, item)
                    if refused := _refused(declared, content, item, tokenizer):
                        writer.drop(item.id, *refused)
                        continue
                    target = codes[str(item.target)] if labels else _number(item)
                    writer.add(item.id, {"input": content}, target, item.meta)
                    progress.update(advance=1)
            writers.append(writer)
        facts: dict[str, Any] = {"signature": signature.model_dump(mode="json"), "fitted": fitted}
        write_index(folder, writers, **facts)
        if labels:
            counts = {s: Counter(str(item.target) for item in divided.items[s]) for s in SPLITS}
            write_json(folder / "stats.json", {s: {each: counts[s][each] for each in labels} for s in SPLITS})


def _refused(declared: Input, content: bytes, item: Item, tokenizer: Tokenizer | None) -> tuple[str, str] | None:
    """Why a text that serving would refuse (empty, too long) is left out. Raises MetrolineError for another input."""
    try:
        decode(declared, content, tokenizer)
    except BadItem as error:
        if declared.kind == "text":
            return "empty or longer than data.length", str(error)
        raise MetrolineError(f"{item.id}: {error}", hint=error.hint or "mend or remove it") from None
    return None


def _number(item: Item) -> float:
    try:
        found = number(item.target, "the target")
    except BadItem as error:
        raise MetrolineError(f"{item.id}: {error}", hint="list it under data.rows.missing, or mend it") from None
    if not math.isfinite(found):
        raise MetrolineError(f"{item.id}: the target is not a number", hint="list it under data.rows.missing")
    return found
