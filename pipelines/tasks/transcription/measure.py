"""Judge a checkpoint on the test split: wrong words, one text for all as floor, groups, the drift reference."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from base.files import write_json
from data.ctc import worded
from data.drift import reference
from pipelines.tasks.interface import Measured
from pipelines.tasks.transcription.network import Answers, load
from pipelines.tasks.transcription.scores import commonest, primary, scores
from pipelines.tasks.transcription.spoken import Spoken

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

SHOWN = 8
"""Clips that transcripts.json has, the first ones and those that are wrong."""


def measure(recipe: "Recipe", checkpoint: Path, prepared: Path, folder: Path) -> Measured:
    """See the module."""
    test = Spoken(prepared, "test")
    answers = Answers(load(recipe.model, test.index, checkpoint)).eval()
    with torch.no_grad():
        frames = [answers(torch.from_numpy(sound[None]))[0].numpy() for sound in test.sounds]
    given = [worded(test.output, each)["text"] for each in frames]
    alone = test.output.model_copy(update={"beam": 1})
    plain = scores([worded(alone, each)["text"] for each in frames], test.texts)
    values = scores(given, test.texts)
    floor = commonest([str(text) for text in Spoken(prepared, "train", 200).texts])
    baselines = {f"floor_{name}": value for name, value in scores([floor] * len(test), test.texts).items()}
    baselines |= {f"frames_{name}": value for name, value in plain.items()}
    groups = dict[str, dict[str, float]]()
    if column := recipe.evaluate.group:
        names = np.array(test.group(column))
        for name in np.unique(names).tolist():
            rows = np.flatnonzero(names == name).tolist()
            some = scores([given[row] for row in rows], [test.texts[row] for row in rows])
            groups[f"{column}={name or 'none'}"] = {**some, "items": len(rows)}
    wrong = [number for number in range(len(test)) if given[number] != test.texts[number]]
    shown = sorted({*range(min(SHOWN // 2, len(test))), *wrong[: SHOWN // 2]})
    write_json(folder / "transcripts.json", [{"said": test.texts[each], "read": given[each]} for each in shown])
    inputs = ((sound,) for sound in test.sounds)
    write_json(folder / "reference.json", reference(test.signature, inputs, ((each,) for each in frames)))
    return Measured({**values, "items": len(test)}, primary(recipe), baselines, groups)
