"""How well does a checkpoint answer the test chats, is that better than before, and what did it cost?

Both models, the checkpoint and the weights that its training began with, see the same chats. Numbers are the same
whenever the same checkpoint is evaluated on the same machine.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from base.errors import MetrolineError
from base.files import write_json
from base.progress import Progress
from data.text.chat_tokens import load_chats
from data.text.tokenizer import Tokenizer
from pipelines.tasks.bootstrap import interval
from pipelines.tasks.instruction import answers, forgetting, gain
from pipelines.tasks.instruction.before_and_after import before_and_after
from pipelines.tasks.instruction.packing import pack
from pipelines.tasks.instruction.rows import inputs
from pipelines.tasks.interface import Measured, Primary
from pipelines.tasks.language_modelling.reference import reference

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe
    from pipelines.tasks.instruction.config import EvaluateConfig

BATCH_TOKENS = 2048  # in one forward pass
PRIMARY = Primary("test.loss", "lower", floor="baselines.base_loss")
"""A model that answers no better than the one it was made of is no model."""


def evaluate(recipe: "Recipe", checkpoint: Path, prepared: Path, folder: Path, first: Path | None) -> Measured:
    """Score a checkpoint; samples and the drift reference go into `folder`. `first`: the files of the weights that it
    began with.

    Raises MetrolineError: no such weights, a checkpoint of another vocabulary, no test chats, another plain text than
    the recipe pins, a loss that is not finite.
    """
    config: EvaluateConfig = recipe.evaluate
    model, base, test = before_and_after(recipe, checkpoint, prepared, first)
    _, ends = load_chats(prepared, recipe.data.clean)
    tokenizer = Tokenizer.load(prepared / "tokenizer.json")
    lengths = inputs(test).tolist()
    sequence = min(recipe.data.length, model.config.context)
    rows, batch = pack(lengths, sequence, config.seed), max(1, BATCH_TOKENS // sequence)
    targets = np.array([int(test.mask_at(int(at), length + 1).sum())
                        for at, length in zip(test.offsets[:-1], lengths, strict=True)])  # fmt: skip
    asked, given = answers.prompts(test, config.answers)
    with Progress("evaluate", 2 * len(test) + len(asked), "chats") as progress:
        nats, before = (gain.chat_losses(network, test, rows, sequence, batch, progress) for network in (model, base))
        said = answers.greedy(model, asked, ends, limit=config.answer_tokens, batch=config.batch, progress=progress)
    loss, base_loss = (float(sums.sum() / targets.sum()) for sums in (nats, before))
    if not math.isfinite(loss):
        raise MetrolineError("evaluate: the loss on the test split is not finite", hint="look at the training curve")
    gained = gain.gain(before, nats, targets)
    low, high = interval(gained, np.arange(len(test)), config.resamples, seed=config.seed, confidence=config.confidence)
    shown = answers.beginnings(test, config.reference_tokens, config.reference_windows)
    write_json(folder / "reference.json", reference(
        model, test, shown, length=config.reference_tokens, batch_tokens=BATCH_TOKENS, names=None))  # fmt: skip
    write_json(folder / "samples.json", answers.samples(tokenizer, asked, given, said, config.samples))
    return Measured(
        test={
            "loss": loss,
            "perplexity": math.exp(min(loss, 100.0)),
            "gain": base_loss - loss,
            "gain_low": low,
            "gain_high": high,
            "chats": len(test),
            "targets": int(targets.sum()),
            **answers.habits(said, given, ends),
        },
        primary=PRIMARY,
        baselines={"base_loss": base_loss},
        base=forgetting.compare(model, base, config.plain_text, recipe.data.clean, tokenizer),
    )
