"""How well does a student predict the test split, and better than its twin that had no teacher?"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from base.errors import MetrolineError
from base.progress import Progress
from data.text.shards import Shards
from models.checkpoint import LanguageModel, load
from pipelines.tasks.bootstrap import interval
from pipelines.tasks.distillation.objective import ALONE
from pipelines.tasks.instruction.gain import gain
from pipelines.tasks.interface import Measured, Primary
from pipelines.tasks.language_modelling import evaluate as plainly
from pipelines.tasks.language_modelling import scoring
from pipelines.tasks.language_modelling.imported import imported

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

PRIMARY = Primary("test.loss", "lower", floor="baselines.alone_loss")
"""A student that is no better than its twin has learnt nothing from its teacher."""


def evaluate(recipe: "Recipe", checkpoint: Path, prepared: Path, folder: Path, first: Path | None) -> Measured:
    """As language modelling is, and against the twin in the checkpoint and the teacher in `first`, on the same tokens
    with the same context.

    Raises MetrolineError: as there; no twin, no teacher.
    """
    if first is None or not (checkpoint / ALONE).is_dir():
        raise MetrolineError(f"{checkpoint / ALONE} or the teacher is missing", hint=f"metroline run {recipe.name}")
    found = plainly.evaluate(recipe, checkpoint, prepared, folder)
    test, config = Shards(prepared, "test"), recipe.evaluate
    context = int(found.test["context"])
    models: dict[str, LanguageModel] = {
        "student": load(checkpoint).eval(),
        "alone": load(checkpoint / ALONE).eval(),
        "teacher": imported(first, test.vocab_size).eval(),
    }
    with Progress("compare", len(models) * test.total_tokens, "tokens") as progress:
        nats = {name: documents(model, test, context, recipe, progress) for name, model in models.items()}
    offsets = np.asarray(test.offsets)
    targets = offsets[1:] - offsets[:-1] - len(test.first)
    saved = gain(nats["alone"], nats["student"], targets)
    every = np.arange(len(test))
    low, high = interval(saved, every, config.resamples, seed=config.seed, confidence=config.confidence)
    losses = {name: float(sums.sum() / targets.sum()) for name, sums in nats.items()}
    return replace(
        found,
        test={**found.test, "gain": saved(every), "gain_low": low, "gain_high": high, "documents": len(test)},
        primary=PRIMARY,
        baselines={**found.baselines, "alone_loss": losses["alone"], "teacher_loss": losses["teacher"]},
    )


def documents(
    model: LanguageModel, test: Shards, context: int, recipe: "Recipe", progress: Progress
) -> NDArray[np.float64]:
    """Nats of each document of the test split, [documents]."""
    config = recipe.evaluate
    windows = scoring.split_windows(test, context, config.stride)
    nats = scoring.score(model, test, windows, config.batch_tokens, progress, workers=torch.get_num_threads())
    nats[test.given] = 0.0
    return np.add.reduceat(nats.astype(np.float64), np.asarray(test.offsets[:-1]))
