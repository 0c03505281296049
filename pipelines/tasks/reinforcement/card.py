"""What the card of a model taught by rewards says: the reward, and how much more of it there is than before."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.files import read_json
from base.markdown import table
from pipelines.tasks.instruction.card import samples
from pipelines.tasks.interface import Card
from pipelines.tasks.language_modelling.card import COUNTS, LOADING, PARITY

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe


def card(
    recipe: "Recipe", folder: Path, evaluation: Path, metrics: Mapping[str, Any], parity: Mapping[str, Any]
) -> Card:
    """The parts of the card. `folder`: the bundle with the checkpoint's files; `evaluation`: what `evaluate` wrote."""
    task = recipe.task
    held = f"; leaving the first weights costs {task.kl:g} of the divergence from them" if task.kl else ""
    return Card(
        library="transformers",
        architecture=read_json(folder / "config.json")["architectures"][0],
        data=f"A document is a prompt, up to and with `{task.prompt_end}`, and a given answer. In training each prompt "
        f"was answered {task.group} times by the model itself, and the reward `{task.reward}`, a function in "
        "`pipelines/tasks/reinforcement/rewards.py`, said how good each answer was (GRPO, "
        f"[Shao et al. 2024](https://arxiv.org/abs/2402.03300)){held}. No document is in two splits.",
        counts=COUNTS,
        targets="answers",
        loss="per answer",
        output="logit",
        parity=PARITY,
        loading=LOADING,
        quality=_quality(recipe, metrics),
        more=(samples(read_json(evaluation / "samples.json")),),
        limits=(
            "It was taught what the reward counts and nothing else; a reward can be earned in ways that nobody meant.",
            f"The endpoint writes at most {recipe.serving.max_tokens:,} tokens a request.",
        ),
        pictures=frozenset(path.name for path in folder.glob("*.png")),
    )


def _quality(recipe: "Recipe", metrics: Mapping[str, Any]) -> str:
    test, before = metrics["test"], metrics["baselines"]
    rows = [
        ("the weights it began with", f"{before['base_reward']:.4f}", f"{100 * before['base_stop_rate']:.1f} %"),
        ("this model", f"{test['reward']:.4f}", f"{100 * test['stop_rate']:.1f} %"),
    ]
    share = 100 * recipe.evaluate.confidence
    return f"""The likeliest answers to the {test["answers"]:,} test prompts, of at most {recipe.task.answer_tokens:,}
tokens; one that does not end by itself earns nothing.

{table(("", "mean reward", "answers that end"), rows)}

The gain is {test["gain"]:+.4f} ({share:g} % of {recipe.evaluate.resamples:,} paired bootstrap resamples of the prompts:
{test["gain_low"]:+.4f} to {test["gain_high"]:+.4f})."""
