"""How well does a checkpoint answer the test chats, is that better than before, and what did it cost?

Both models, the checkpoint and the weights that its training began with, see the same chats. Numbers are the same
whenever the same checkpoint is evaluated on the same machine.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from base.errors import MetrolineError
from base.files import write_json
from base.progress import Progress
from data.text.chat_tokens import load_chats
from data.text.shards import Shards
from data.text.tokenizer import Tokenizer
from models.checkpoint import load
from models.decoder.model import Decoder
from pipelines.tasks.bootstrap import interval
from pipelines.tasks.instruction import answers, forgetting, gain
from pipelines.tasks.instruction.packing import pack
from pipelines.tasks.instruction.rows import inputs
from pipelines.tasks.interface import Measured, Primary
from pipelines.tasks.language_modelling.imported import imported
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
    if first is None:
        raise MetrolineError("evaluate: the weights that training began with are missing", hint="metroline run RECIPE")
    config: EvaluateConfig = recipe.evaluate
    test, model = Shards(prepared, "test"), load(checkpoint).eval()
    if not len(test):
        raise MetrolineError(f"{prepared} has no chat in its test split", hint="raise `test` in the recipe's split")
    base = imported(first, test.vocab_size).eval()
    if not isinstance(model, Decoder) or model.config.vocab_size != base.config.vocab_size:
        raise MetrolineError(f"{checkpoint} was not made of {first}", hint=f"metroline run {recipe.name}")
    _, ends = load_chats(prepared, recipe.data.clean)
    tokenizer = Tokenizer.load(prepared / "tokenizer.json")
    lengths = inputs(test).tolist()
    if max(lengths) > model.config.context:
        raise MetrolineError(
            f"a test chat shows {max(lengths):,} tokens, more than the model's context ({model.config.context:,})",
            hint="leave long chats out with a smaller data.length",
        )
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
    text = forgetting.plain_tokens(config.plain_text, recipe.data.clean, tokenizer)
    tuned, original = (forgetting.perplexity(network, text, config.plain_text.context) for network in (model, base))
    shown = _prompts(test, config.reference_tokens, config.reference_windows)
    write_json(folder / "reference.json", reference(
        model, test, shown, length=config.reference_tokens, batch_tokens=BATCH_TOKENS, names=None))  # fmt: skip
    write_json(folder / "samples.json", _samples(tokenizer, asked, given, said, config.samples))
    return Measured(
        test={
            "loss": loss,
            "perplexity": math.exp(min(loss, 100.0)),
            "gain": base_loss - loss,
            "gain_low": low,
            "gain_high": high,
            "chats": len(test),
            "targets": int(targets.sum()),
            **_habits(said, given, ends),
        },
        primary=PRIMARY,
        baselines={"base_loss": base_loss},
        base={
            "perplexity": original,
            "tuned_perplexity": tuned,
            "perplexity_delta": tuned / original - 1,
            "tokens": len(text) - 1,
        },
    )


def _habits(said: list[list[int]], given: list[list[int]], ends: frozenset[int]) -> dict[str, float | int]:
    """How the generated answers end, and how long they are beside the given ones, in tokens without ends."""

    def mean(all_of: list[list[int]]) -> float:
        return sum(sum(token not in ends for token in answer) for answer in all_of) / len(all_of)

    return {
        "answers": len(said),
        "stop_rate": sum(bool(answer) and answer[-1] in ends for answer in said) / len(said),
        "exact_match": sum(one == other for one, other in zip(said, given, strict=True)) / len(said),
        "answer_length": mean(said),
        "given_length": mean(given),
    }


def _prompts(test: Shards, length: int, most: int) -> list[tuple[int, int, int]]:
    """(chat, start, tokens) of what the endpoint would be asked: the beginnings of chats, up to the first answer."""
    count = min(most, len(test))
    found = []
    for chat in (len(test) * index // count for index in range(count)):
        begin, end = int(test.offsets[chat]), int(test.offsets[chat + 1])
        shown = int(np.flatnonzero(test.mask_at(begin, end - begin))[0])
        found.append((chat, begin, min(length, shown)))
    return [prompt for prompt in found if prompt[2] >= 2]


def _samples(
    tokenizer: Tokenizer, asked: list[list[int]], given: list[list[int]], said: list[list[int]], most: int
) -> list[dict[str, Any]]:
    count = min(most, len(asked))
    return [
        {"prompt": tokenizer.decode(asked[place]), "text": tokenizer.decode(said[place]),
         "given": tokenizer.decode(given[place])}
        for place in (len(asked) * index // count for index in range(count))
    ]  # fmt: skip
