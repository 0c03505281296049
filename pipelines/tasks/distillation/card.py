"""What a distilled model's card says beside what any language model's does: its teacher, and what that was worth."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.files import read_json
from base.markdown import table
from pipelines.tasks.interface import Card
from pipelines.tasks.language_modelling.card import card as plain

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

AS_OTHERS = "What it writes may be false or offensive as the data and the teacher's are that it learnt from."


def card(
    recipe: "Recipe", folder: Path, evaluation: Path, metrics: Mapping[str, Any], parity: Mapping[str, Any]
) -> Card:
    """The parts of the card. `folder`: the bundle with the checkpoint's files; `evaluation`: what `evaluate` wrote."""
    found = plain(recipe, folder, evaluation, metrics, parity)
    teacher, task = read_json(folder / "distillation.json")["teacher"], recipe.task
    data = f"""{found.data} The tokenizer is the teacher's.

Beside each token of the train split lie the {teacher["k"]} tokens that the teacher (weights with SHA-256
`{teacher["weights"]}`, {teacher["context"]:,} tokens of context) found likeliest, with their log-probabilities at
temperature {teacher["temperature"]:g}. The loss is {1 - task.weight:g} of the cross-entropy with the text and
{task.weight:g} of the divergence from the teacher
([Hinton et al. 2015](https://arxiv.org/abs/1503.02531))."""
    return replace(
        found,
        data=data,
        loss="nats per token; of training, of both students together",
        quality=f"{found.quality}\n\n{_compared(recipe, metrics)}",
        limits=(AS_OTHERS, *found.limits[1:]),
    )


def _compared(recipe: "Recipe", metrics: Mapping[str, Any]) -> str:
    test, before = metrics["test"], metrics["baselines"]
    rows = [
        ("this model", f"{test['loss']:.4f}"),
        ("the same, trained on the text alone", f"{before['alone_loss']:.4f}"),
        ("the teacher", f"{before['teacher_loss']:.4f}"),
    ]
    share = 100 * recipe.evaluate.confidence
    return f"""Its twin had the same first weights and saw the same batches, but no teacher.

{table(("", "loss (nats per token)"), rows)}

What the teacher was worth: {test["gain"]:.4f} nats a token ({share:g} % of {recipe.evaluate.resamples:,} paired
bootstrap resamples of the {test["documents"]:,} test documents: {test["gain_low"]:.4f} to {test["gain_high"]:.4f})."""
