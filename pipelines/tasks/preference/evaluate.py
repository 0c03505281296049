"""Does a checkpoint prefer the chosen answers of the test pairs, more surely than before, and what did that cost?

What a model prefers is told in two ways. Of a tuned one by its implicit reward, β log(π / π_ref) (Rafailov et al.
2023): which answer training has raised above the other. Of any model alone, so also of the first weights, by its own
log-probabilities, of whole answers (`sum`) and per token (`mean`), which differ as longer answers are less likely. The
first weights' accuracy, which has to be beaten, is the better of their two.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

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
from pipelines.tasks.preference.loss import pair_losses

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe
    from pipelines.tasks.instruction.config import EvaluateConfig
    from pipelines.tasks.preference.config import PreferenceConfig

BATCH_TOKENS = 2048  # in one forward pass
PRIMARY = Primary("test.accuracy", "higher", floor="baselines.base_accuracy")
"""A model that prefers the chosen answers no more often than the one it was made of is no model."""
Numbers = NDArray[np.float64]


def evaluate(recipe: "Recipe", checkpoint: Path, prepared: Path, folder: Path, first: Path | None) -> Measured:
    """Score a checkpoint; samples and the drift reference go into `folder`. `first`: the files of the weights that it
    began with.

    Raises MetrolineError: as `before_and_after`; another plain text than the recipe pins, log-probabilities that are
    not finite.
    """
    config: EvaluateConfig = recipe.evaluate
    model, base, test = before_and_after(recipe, checkpoint, prepared, first)
    _, ends = load_chats(prepared, recipe.data.clean)
    tokenizer = Tokenizer.load(prepared / "tokenizer.json")
    sequence = min(recipe.data.length, model.config.context)
    rows, batch = pack(inputs(test).tolist(), sequence, config.seed), max(1, BATCH_TOKENS // sequence)
    counts = np.array([test.mask_at(int(at), int(end - at)).sum() for at, end in zip(
        test.offsets[:-1], test.offsets[1:], strict=True)], np.float64).reshape(-1, 2)  # fmt: skip
    asked, given = answers.prompts(test, config.answers, each=2)
    with Progress("evaluate", 2 * len(test) + 2 * len(asked), "chats") as progress:
        now, before = (
            -gain.chat_losses(network, test, rows, sequence, batch, progress).reshape(-1, 2)
            for network in (model, base)
        )
        said, said_before = (
            answers.greedy(each, asked, ends, limit=config.answer_tokens, batch=config.batch, progress=progress)
            for each in (model, base)
        )
    if not np.isfinite(now).all():
        raise MetrolineError("evaluate: a log-probability of the test split is not finite", hint="look at the curves")
    shown = answers.beginnings(test, config.reference_tokens, config.reference_windows, each=2)
    write_json(folder / "reference.json", reference(
        model, test, shown, length=config.reference_tokens, batch_tokens=BATCH_TOKENS, names=None))  # fmt: skip
    write_json(folder / "samples.json", answers.samples(tokenizer, asked, given, said, config.samples))
    test_values, baselines = preferences(now, before, counts, recipe.task, config)
    habits, habits_before = (answers.habits(each, given, ends) for each in (said, said_before))
    baselines |= {f"base_{name}": habits_before[name] for name in ("answer_length", "stop_rate")}
    return Measured(
        test=test_values | habits | {"stop_change": habits["stop_rate"] - habits_before["stop_rate"]},
        primary=PRIMARY,
        baselines=baselines,
        base=forgetting.compare(model, base, config.plain_text, recipe.data.clean, tokenizer),
    )


def preferences(
    now: Numbers, before: Numbers, counts: Numbers, task: "PreferenceConfig", config: "EvaluateConfig"
) -> tuple[dict[str, float | int], dict[str, float | int]]:
    """metrics.json's `test` and `baselines` of log-probabilities after and before, float64 [pairs, 2], of answers of
    so many tokens, chosen and rejected."""
    change = now - before
    apart = change / counts if task.loss == "ipo" else change
    pairs = pair_losses(torch.from_numpy(apart[:, 0] - apart[:, 1]), task.loss, task.beta)
    right = pairs.margins.numpy() > 0
    of_base = {"sum": _prefers(before), "mean": _prefers(before / counts)}
    rule = max(of_base, key=lambda name: float(of_base[name].mean()))
    gained = right.astype(np.float64) - of_base[rule]

    def sure(values: NDArray[np.float64]) -> tuple[float, float]:
        return interval(lambda rows: float(values[rows].mean()), np.arange(len(values)), config.resamples,
                        seed=config.seed, confidence=config.confidence)  # fmt: skip

    accuracy_low, accuracy_high = sure(right.astype(np.float64))
    gain_low, gain_high = sure(gained)
    margin_low, margin_high = sure(pairs.margins.numpy())
    test: dict[str, float | int] = {
        "loss": float(pairs.losses.mean()),
        "accuracy": float(right.mean()), "accuracy_low": accuracy_low, "accuracy_high": accuracy_high,
        "gain": float(gained.mean()), "gain_low": gain_low, "gain_high": gain_high,
        "margin": float(pairs.margins.mean()), "margin_low": margin_low, "margin_high": margin_high,
        "sum_accuracy": float(_prefers(now).mean()), "mean_accuracy": float(_prefers(now / counts).mean()),
        "chosen_change": float(change[:, 0].sum() / counts[:, 0].sum()),
        "rejected_change": float(change[:, 1].sum() / counts[:, 1].sum()),
        "pairs": len(now), "targets": int(counts.sum()),
    }  # fmt: skip
    baselines: dict[str, float | int] = {f"base_{name}_accuracy": float(each.mean()) for name, each in of_base.items()}
    baselines["base_accuracy"] = baselines[f"base_{rule}_accuracy"]
    nothing = pair_losses(torch.zeros(1, dtype=torch.float64), task.loss, task.beta)
    return test, baselines | {"base_loss": float(nothing.losses)}


def _prefers(values: Numbers) -> NDArray[np.bool_]:
    """Which pairs have the chosen answer above the rejected one."""
    found: NDArray[np.bool_] = values[:, 0] > values[:, 1]
    return found
