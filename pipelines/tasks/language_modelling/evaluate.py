"""Stage `evaluate`: how well does the checkpoint predict the test split, and is that better than simple baselines?

    metroline stage evaluate speeches

It changes nothing of the model. The numbers are the same whenever the same checkpoint is evaluated on the same machine.
"""

import math
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from base.errors import MetrolineError
from base.files import atomic_folder, read_json, sha256, write_json
from pipelines.paths import Paths

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data.text.shards import Shards
    from data.text.tokenizer import Tokenizer
    from pipelines.recipe.schema import Recipe


class EvaluateConfig(BaseModel):
    """How the test split is scored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    context: int | None = Field(
        default=None, ge=2, description="tokens that one window shows; None: the model's context"
    )
    stride: float = Field(
        default=0.75,
        gt=0,
        le=1,
        description="part of a window that is scored, the rest being context (1: no overlap)",
    )
    batch_tokens: int = Field(default=2048, ge=1, description="tokens in one batch, padding included")
    group_by: str | None = Field(
        default=None, description="also give the loss per group of documents: a name in their meta, such as decade"
    )
    prompts: tuple[str, ...] = Field(default=(), description="beginnings of samples; none: how test documents begin")
    samples: int = Field(default=3, ge=0, description="samples to draw when no prompts are given")
    sample_tokens: int = Field(default=100, ge=1, description="tokens of one sample, its prompt not counted")
    temperature: float = Field(default=0.8, ge=0, description="of the samples; 0: always the likeliest token")
    seed: int = Field(default=0, ge=0, description="of the samples")
    reference_tokens: int = Field(default=64, ge=2, description="length of the prompts that drift is later judged by")
    reference_windows: int = Field(default=512, ge=2, description="most prompts in the drift reference")


def evaluate(recipe: "Recipe", paths: Paths) -> None:
    """Score the checkpoint in `paths.checkpoint` on the test split and write `paths.metrics` and `paths.evaluation`.

    Raises MetrolineError: no checkpoint or prepared data, a checkpoint of other data, documents without the meta that
    `group_by` needs, a loss that is not finite.
    """
    import numpy as np
    import torch

    from base.progress import Progress
    from data.text.shards import Shards
    from data.text.tokenizer import Tokenizer
    from models.decoder.huggingface import load
    from pipelines.tasks.language_modelling import baselines, groups, reference, samples, scoring

    config = recipe.evaluate
    test = Shards(paths.prepared, "test")
    if not test.bytes:
        raise MetrolineError(
            f"{paths.prepared} has no text in its test split", hint="raise `test` in the recipe's split"
        )
    if not paths.checkpoint.is_dir():
        raise MetrolineError(f"{paths.checkpoint} is missing", hint=f"metroline run {recipe.name}")
    model = load(paths.checkpoint).eval()
    check_same_data(paths, test, model.config.vocab_size)
    tokenizer = Tokenizer.load(paths.prepared / "tokenizer.json")
    offsets, documents = np.asarray(test.offsets), list(test.documents())
    names = groups.group_names(documents, config.group_by) if config.group_by else None
    context = min(config.context or model.config.context, model.config.context)
    windows = scoring.split_windows(test, context, config.stride)

    with Progress("evaluate", test.total_tokens, "tokens") as progress:
        nats = scoring.score(model, test, windows, config.batch_tokens, progress, workers=torch.get_num_threads())
        loss = float(nats.mean(dtype=np.float64))
        if not math.isfinite(loss):
            raise MetrolineError(
                "evaluate: the loss on the test split is not finite", hint="look at the training curve"
            )
        drift = reference.reference(
            model,
            test,
            length=min(config.reference_tokens, context),
            most=config.reference_windows,
            batch_tokens=config.batch_tokens,
            names=names,
        )
        prompts = config.prompts or samples.beginnings(test, tokenizer, config.samples)
        drawn = [
            {"prompt": prompt, "text": samples.continue_text(
                model, tokenizer, prompt, tokens=config.sample_tokens, temperature=config.temperature,
                seed=config.seed + index, eos=test.eos)}
            for index, prompt in enumerate(prompts)
        ]  # fmt: skip

    bits_per_byte = loss * test.total_tokens / math.log(2) / test.bytes
    bigram = baselines.bigram_bits_per_byte(Shards(paths.prepared, "train"), Shards(paths.prepared, "valid"), test)
    xz = baselines.xz_bits_per_byte(texts(test, tokenizer), test.bytes)
    rows = groups.group_losses(nats, offsets, documents, names) if names else []
    metrics = {
        "test": {
            "loss": loss,
            "perplexity": math.exp(loss),
            "bits_per_byte": bits_per_byte,
            "tokens": test.total_tokens,
            "bytes": test.bytes,
            "context": context,
        },
        "baselines": {
            "bigram_bits_per_byte": bigram,
            "xz_bits_per_byte": xz,
            "weakest_bits_per_byte": max(bigram, xz),
        },
        "groups": {row["group"]: {"loss": row["loss"], "bits_per_byte": row["bits_per_byte"]} for row in rows},
    }
    with atomic_folder(paths.evaluation) as folder:
        write_json(folder / "samples.json", drawn)
        # What was evaluated: export takes these numbers for this checkpoint only.
        write_json(folder / "reference.json", {**drift, "checkpoint": sha256(paths.checkpoint / "model.safetensors")})
        if rows:
            write_json(folder / "groups.json", rows)
            groups.plot(rows, bits_per_byte, f"{recipe.name}: test loss per {config.group_by}", folder / "groups.png")
    write_json(paths.metrics, metrics)


def check_same_data(paths: Paths, test: "Shards", vocab_size: int) -> None:
    """Raise MetrolineError when the checkpoint is of other data: it may have been trained on this test split."""
    record = paths.checkpoint / "training.json"
    if not record.is_file():
        raise MetrolineError(f"{record} is missing", hint=f"metroline run {paths.recipe}")
    trained_on = read_json(record).get("data_hash")
    if trained_on != test.data_hash or vocab_size < test.vocab_size:
        raise MetrolineError(
            f"{paths.checkpoint} was trained on other data than {paths.prepared}", hint=f"metroline run {paths.recipe}"
        )


def texts(split: "Shards", tokenizer: "Tokenizer") -> "Iterator[str]":
    """The documents' text, out of their tokens."""
    for begin, end in zip(split.offsets[:-1], split.offsets[1:], strict=True):
        yield tokenizer.decode(split.tokens_at(int(begin), int(end - begin)).tolist())
