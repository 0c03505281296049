"""How well does a checkpoint predict the test split, and is that better than simple baselines?

It changes nothing of the model. The numbers are the same whenever the same checkpoint is evaluated on the same machine.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from base.errors import MetrolineError
from base.files import write_json
from pipelines.tasks.interface import Measured, Primary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data.text.shards import Shards
    from data.text.tokenizer import Tokenizer
    from pipelines.recipe.schema import Recipe


PRIMARY = Primary("test.bits_per_byte", "lower", floor="baselines.weakest_bits_per_byte")
"""A model that predicts worse than bigram counts and compresses worse than xz is no model."""


def evaluate(recipe: "Recipe", checkpoint: Path, prepared: Path, folder: Path) -> Measured:
    """Score a checkpoint on the test split; samples, the drift reference and the groups' picture go into `folder`.

    Raises MetrolineError: a checkpoint of another vocabulary, tokens that do not stand for the text, documents without
    the meta that `group_by` needs, a loss that is not finite.
    """
    import numpy as np
    import torch

    from base.progress import Progress
    from data.text.shards import Shards
    from data.text.tokenizer import Tokenizer
    from models.checkpoint import load
    from pipelines.tasks.language_modelling import baselines, groups, reference, samples, scoring

    config = recipe.evaluate
    test = Shards(prepared, "test")
    if not test.bytes:
        raise MetrolineError(f"{prepared} has no text in its test split", hint="raise `test` in the recipe's split")
    model = load(checkpoint).eval()
    if model.config.vocab_size < test.vocab_size:
        raise MetrolineError(
            f"{checkpoint} was trained on other data than {prepared}", hint=f"metroline run {recipe.name}"
        )
    tokenizer = Tokenizer.load(prepared / "tokenizer.json")
    check_text(test, tokenizer, exact=recipe.data.tokenizer.kind != "char")
    offsets, documents = np.asarray(test.offsets), list(test.documents())
    names = groups.group_names(documents, config.group_by) if config.group_by else None
    context = min(config.context or model.config.context, model.config.context)
    windows = scoring.split_windows(test, context, config.stride)

    with Progress("evaluate", test.total_tokens, "tokens") as progress:
        nats = scoring.score(model, test, windows, config.batch_tokens, progress, workers=torch.get_num_threads())
        nats[test.given] = 0.0
        predicted = test.total_tokens - len(test.given)
        loss = float(nats.sum(dtype=np.float64) / predicted)
        if not math.isfinite(loss):
            raise MetrolineError(
                "evaluate: the loss on the test split is not finite", hint="look at the training curve"
            )
        length = min(config.reference_tokens, context)
        shown = reference.stretches(test, max(2, length - len(test.first)), config.reference_windows)
        drift = reference.reference(model, test, shown, length=length, batch_tokens=config.batch_tokens, names=names)
        prompts = tuple(map(recipe.data.clean.apply, config.prompts)) or samples.beginnings(
            test, tokenizer, config.samples
        )
        drawn = [
            {"prompt": prompt, "text": samples.continue_text(
                model, tokenizer, prompt, tokens=config.sample_tokens, temperature=config.temperature,
                seed=config.seed + index, eos=test.eos)}
            for index, prompt in enumerate(prompts)
        ]  # fmt: skip

    bits_per_byte = loss * predicted / math.log(2) / test.bytes
    bigram = baselines.bigram_bits_per_byte(Shards(prepared, "train"), Shards(prepared, "valid"), test)
    xz = baselines.xz_bits_per_byte(texts(test, tokenizer), test.bytes)
    rows = groups.group_losses(nats, offsets, documents, names, len(test.first)) if names else []
    write_json(folder / "samples.json", drawn)
    write_json(folder / "reference.json", drift)
    if rows:
        write_json(folder / "groups.json", rows)
        groups.plot(rows, bits_per_byte, f"{recipe.name}: test loss per {config.group_by}", folder / "groups.png")
    return Measured(
        test={
            "loss": loss,
            "perplexity": math.exp(loss),
            "bits_per_byte": bits_per_byte,
            "tokens": test.total_tokens,
            "bytes": test.bytes,
            "context": context,
        },
        primary=PRIMARY,
        baselines={
            "bigram_bits_per_byte": bigram,
            "xz_bits_per_byte": xz,
            "weakest_bits_per_byte": max(bigram, xz),
        },
        groups={row["group"]: {"loss": row["loss"], "bits_per_byte": row["bits_per_byte"]} for row in rows},
    )


def check_text(split: "Shards", tokenizer: "Tokenizer", *, exact: bool) -> None:
    """Raise MetrolineError when tokens do not give back the bytes that are counted: a loss over bytes that no token
    stands for looks better than it is, however bad the model. Not `exact`: `<unk>` stands for one character.
    """
    from data.text.tokenizer import MOST_LOST

    lost = 0
    for number, (document, text) in enumerate(zip(split.documents(), texts(split, tokenizer), strict=True)):
        unknown = 0 if exact else int((split.document(number) == tokenizer.unknown).sum())
        lost += max(0, document["bytes"] - len(text.encode()) - 4 * unknown)
    if lost > MOST_LOST * split.bytes:
        raise MetrolineError(
            f"{split.folder}: the tokens of {split.split} give back only {split.bytes - lost:,} of its "
            f"{split.bytes:,} bytes",
            hint="run `metroline stage prepare` again; a tokenizer that cuts or changes text cannot be measured",
        )


def texts(split: "Shards", tokenizer: "Tokenizer") -> "Iterator[str]":
    """The documents' text, out of their tokens."""
    for begin, end in zip(split.offsets[:-1], split.offsets[1:], strict=True):
        yield tokenizer.decode(split.tokens_at(int(begin), int(end - begin)).tolist())
