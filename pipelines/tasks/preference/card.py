"""What the card of a model taught by preferences says: its data, what it prefers now, what that cost."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.files import read_json
from base.markdown import table
from pipelines.tasks.instruction.card import samples
from pipelines.tasks.interface import Card
from pipelines.tasks.language_modelling.card import LOADING, PARITY

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

COUNTS = {"documents": "chats, two a pair", "tokens": "tokens", "targets": "tokens of the answers"}
LOSSES = {
    "sigmoid": "DPO's sigmoid loss ([Rafailov et al. 2023](https://arxiv.org/abs/2305.18290))",
    "ipo": "IPO's squared loss on log-probabilities per token ([Azar et al. 2023](https://arxiv.org/abs/2310.12036))",
}


def card(
    recipe: "Recipe", folder: Path, evaluation: Path, metrics: Mapping[str, Any], parity: Mapping[str, Any]
) -> Card:
    """The parts of the card. `folder`: the bundle with the checkpoint's files; `evaluation`: what `evaluate` wrote."""
    config = read_json(folder / "config.json")
    return Card(
        library="transformers",
        architecture=config["architectures"][0],
        data="Pairs of answers to one prompt, a chosen and a rejected one, written by the chat template that came with "
        "the first weights, exactly as the endpoint writes chats. Pairs with a chat longer than "
        f"{recipe.data.length:,} tokens are left out, not cut. No question is in two splits. The model learnt by "
        f"{LOSSES[recipe.task.loss]} with β = {recipe.task.beta:g}, against the weights it began with.",
        counts=COUNTS,
        targets="pairs",
        loss="per pair",
        output="logit",
        parity=PARITY,
        loading=LOADING,
        quality=_quality(recipe, metrics),
        more=(samples(read_json(evaluation / "samples.json"), given="chosen"),),
        limits=tuple(_limits(recipe, metrics, parity)),
        pictures=frozenset(path.name for path in folder.glob("*.png")),
    )


def _quality(recipe: "Recipe", metrics: Mapping[str, Any]) -> str:
    test, base, before = metrics["test"], metrics["base"], metrics["baselines"]
    rows = [
        ("the weights it began with", "", _percent(before["base_sum_accuracy"]),
         _percent(before["base_mean_accuracy"]), f"{base['perplexity']:.3f}"),
        ("this model", _percent(test["accuracy"]), _percent(test["sum_accuracy"]), _percent(test["mean_accuracy"]),
         f"{base['tuned_perplexity']:.3f}"),
    ]  # fmt: skip
    share = 100 * recipe.evaluate.confidence
    head = ("", "by reward", "by log-probability", "by log-probability per token", "perplexity on ordinary text")
    return f"""In how many of the {test["pairs"]:,} test pairs the chosen answer is preferred. The reward is what
training has added, β times the change of an answer's log-probability; the weights that training began with have none.
The last column is of ordinary text that is none of the data ({base["tokens"]:,} tokens): what was forgotten.

{table(head, rows)}

By reward it is right in {_percent(test["accuracy"])} ({share:g} % of {recipe.evaluate.resamples:,} bootstrap
resamples of the pairs: {_percent(test["accuracy_low"])} to {_percent(test["accuracy_high"])}), which is
{100 * test["gain"]:+.1f} points beside the better accuracy of the weights it began with
({100 * test["gain_low"]:+.1f} to {100 * test["gain_high"]:+.1f}). The mean margin is {test["margin"]:.3f}, the loss
{test["loss"]:.4f} ({before["base_loss"]:.4f} where nothing is learnt). A token of a chosen answer has become
{_times(test["chosen_change"])}, one of a rejected answer {_times(test["rejected_change"])}; the perplexity on ordinary
text changed by {100 * base["perplexity_delta"]:+.2f} %. Of {test["answers"]:,} answers that it wrote itself, greedily,
with at most {recipe.evaluate.answer_tokens:,} tokens, {100 * test["stop_rate"]:.1f} % ended by themselves
({100 * before["base_stop_rate"]:.1f} % before); they had {test["answer_length"]:.1f} tokens on average,
{before["base_answer_length"]:.1f} before, the chosen ones {test["given_length"]:.1f}."""


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _times(nats: float) -> str:
    return f"{abs(nats):.3f} nats {'likelier' if nats > 0 else 'less likely'}"


def _limits(recipe: "Recipe", metrics: Mapping[str, Any], parity: Mapping[str, Any]) -> Iterable[str]:
    yield (
        "What it says may be false or offensive; it was taught to prefer some answers to others, and prefers what the "
        "data prefer, whether that is right or not."
    )
    yield f"The endpoint writes at most {recipe.serving.max_tokens:,} tokens a request."
    if (ended := metrics["test"]["stop_rate"]) < 1:
        yield f"{100 * (1 - ended):.1f} % of the test answers did not end by themselves within the limit."
    if "int8" in parity:
        yield (
            f"The int8 form's loss was measured on {parity['int8']['tokens']:,} tokens of the test split's chats, "
            "chosen and rejected ones alike, not on all, and its preferences were not."
        )
    yield (
        "Nothing was done to find or remove personal data, bias or copied passages beyond what the recipe's `data` "
        "section says."
    )
