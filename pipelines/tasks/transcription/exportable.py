"""A recogniser as the `forward` engine runs it: the spectrogram inside, BatchNorm folded, clips of any length."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data.codecs import decode
from data.ctc import worded
from models.common.layers import fold
from pipelines.tasks.interface import Forward, Predict
from pipelines.tasks.transcription.network import Answers, load
from pipelines.tasks.transcription.scores import primary, scores
from pipelines.tasks.transcription.spoken import Spoken

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe


def exportable(recipe: "Recipe", checkpoint: Path, prepared: Path) -> Forward:
    """What the exporter takes. Golden items are spread over the test split."""
    test = Spoken(prepared, "test")
    network = load(recipe.model, test.index, checkpoint)
    fold(network)
    declared, chosen = test.signature.inputs[0], primary(recipe)
    name = chosen.metric.removeprefix("test.")

    def quality(run: Predict, most: int) -> dict[str, float]:
        some = Spoken(prepared, "test", most)
        given = [worded(test.output, run(batch)[test.output.name][0])["text"] for batch in batches(some)]
        found = scores(given, some.texts)
        return {name: found[name], **found, "items": len(given)}

    def examples(split: str, most: int) -> Iterator[dict[str, NDArray[Any]]]:
        return batches(Spoken(prepared, split, most))

    places = np.unique(np.linspace(0, len(test) - 1, recipe.export.golden).astype(np.int64))
    return Forward(
        model=Answers(network).eval(),
        pre=None,
        golden=tuple((test.raw(int(place)),) for place in places),
        decode=lambda raw: {declared.name: decode(declared, raw[0])[None]},
        examples=examples,
        quality=quality,
        primary=chosen,
        signature=test.signature,
        optional=frozenset({"int8"} if recipe.serving.precision == "auto" else ()),
    )


def batches(spoken: Spoken) -> Iterator[dict[str, NDArray[Any]]]:
    """The clips one by one, since each has a length of its own."""
    for sound in spoken.sounds:
        yield {spoken.signature.inputs[0].name: sound[None]}
