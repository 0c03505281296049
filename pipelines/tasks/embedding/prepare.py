"""Fetched rows → records of two texts and how alike they are, with the signature and the tokenizer of the weights."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from base.errors import BadItem, MetrolineError, nearest
from base.files import atomic_folder
from data import assign, leaks
from data.codecs import decode
from data.fetch.fetched import fetched
from data.records import RecordWriter, write_index
from data.signature import Signature, TextInput, VectorOutput
from data.split import SPLITS
from data.tables.rows import Row, read_rows
from data.text.tokenizer import Tokenizer
from data.values import number
from models.encoder.huggingface import shaped
from models.encoder.shape import EncoderConfig
from pipelines.tasks.embedding.config import PairsData
from pipelines.tasks.supervised.fit import tokenizer_of_others

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

INPUTS = ("first", "second")


def signature_of(recipe: "Recipe", pretrained: Path) -> Signature:
    """What goes in and what comes out; the vector's width is that of the weights in `pretrained`."""
    data, task = recipe.data, recipe.task
    declared = TextInput(
        name="text", shape=(-1,), length=data.length,
        query_prefix=task.query_prefix, document_prefix=task.document_prefix,
    )  # fmt: skip
    width = shaped(EncoderConfig(), pretrained).width
    output = VectorOutput(name="vector", shape=(width,), dimensions=task.dimensions)
    if wrong := next((size for size in task.dimensions if size >= width), None):
        raise MetrolineError(f"task.dimensions: {wrong} of a vector that has {width} numbers", hint="give fewer")
    return Signature(task="feature-extraction", inputs=(declared,), outputs=(output,))


def prepare(recipe: "Recipe", raw: Path, out: Path, pretrained: Path) -> None:
    """Fill the folder `out` with pairs. `pretrained`: the files of the weights.

    Raises MetrolineError, which names file and row: no such column, a score that is no number; an empty split.
    """
    data: PairsData = recipe.data
    rows = list(read_rows(fetched(raw), data.rows))
    texts = [_texts(row, data) for row in rows]
    scores = [_score(row, data) for row in rows]
    asked = [assign.Item(row.id, assign.digest(*pair), dict(row.values)) for row, pair in zip(rows, texts, strict=True)]
    splits = assign.assign(asked, recipe.split)
    kept = leaks.drop_duplicates(asked, splits, recipe.split)
    with atomic_folder(out) as folder:
        fitted = tokenizer_of_others(pretrained, folder)
        tokenizer = Tokenizer.load(folder / "tokenizer.json")
        signature = signature_of(recipe, pretrained)
        (declared,) = signature.inputs
        assert isinstance(declared, TextInput)
        writers = []
        for split in SPLITS:
            with RecordWriter(folder, split, target="float64", inputs=INPUTS) as writer:
                for row, pair, score, before, now in zip(rows, texts, scores, splits, kept, strict=True):
                    if before == split and now != split:
                        writer.drop(row.id, "in a later split too" if score is not None else "no score")
                    elif now == split and score is None:
                        writer.drop(row.id, "no score")
                    elif now == split:
                        if refused := _refused(declared, pair, tokenizer):
                            writer.drop(row.id, "empty or longer than data.length", refused)
                        else:
                            writer.add(row.id, dict(zip(INPUTS, pair, strict=True)), score)
            writers.append(writer)
            if split != "valid" and not writer.entry["records"]:
                raise MetrolineError(
                    f"the {split} split has no pair", hint=f"{len(rows):,} were read; see section split"
                )
        write_index(folder, writers, signature=signature.model_dump(mode="json"), fitted=fitted)


def _texts(row: Row, data: PairsData) -> tuple[bytes, bytes]:
    for name in (data.first, data.second, data.score):
        if name not in row.values:
            raise MetrolineError(f"{row.id}: no column {name!r}", hint=nearest(name, row.values))
    first, second = (str(row.values[name] or "").encode() for name in (data.first, data.second))
    return first, second


def _score(row: Row, data: PairsData) -> float | None:
    value = row.values[data.score]
    if value in (None, ""):
        return None
    try:
        found = number(value, "the score")
    except BadItem as error:
        raise MetrolineError(f"{row.id}: {error}", hint="list it under data.rows.missing, or mend it") from None
    if not math.isfinite(found):
        raise MetrolineError(f"{row.id}: the score is not a number", hint="list it under data.rows.missing")
    return found


def _refused(declared: TextInput, pair: tuple[bytes, bytes], tokenizer: Tokenizer) -> str | None:
    """Why serving would refuse one of the two."""
    try:
        for text in pair:
            decode(declared, text, tokenizer)
    except BadItem as error:
        return str(error)
    return None
