"""What the card of a model taught by chats says: its data, whether it is better than its base, what it forgot."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.files import read_json
from base.markdown import table
from pipelines.tasks.interface import Card
from pipelines.tasks.language_modelling.card import LOADING, PARITY

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

COUNTS = {"documents": "chats", "tokens": "tokens", "targets": "tokens learnt or judged"}


def card(
    recipe: "Recipe", folder: Path, evaluation: Path, metrics: Mapping[str, Any], parity: Mapping[str, Any]
) -> Card:
    """The parts of the card. `folder`: the bundle with the checkpoint's files; `evaluation`: what `evaluate` wrote."""
    config = read_json(folder / "config.json")
    which = "all answers of a chat" if recipe.data.answers == "all" else "the last answer of each chat"
    return Card(
        library="transformers",
        architecture=config["architectures"][0],
        data="Chats, written by the chat template that came with the first weights, exactly as the endpoint writes "
        f"them. Learnt are {which}, each with the token that ends it; nothing else counts as a target. Chats longer "
        f"than {recipe.data.length:,} tokens are left out, not cut. No question is in two splits.",
        counts=COUNTS,
        targets="tokens",
        loss="nats per token of an answer",
        output="logit",
        parity=PARITY,
        loading=LOADING,
        quality=_quality(recipe, metrics),
        more=(samples(read_json(evaluation / "samples.json")),),
        limits=tuple(_limits(recipe, metrics, parity)),
        pictures=frozenset(path.name for path in folder.glob("*.png")),
    )


def _quality(recipe: "Recipe", metrics: Mapping[str, Any]) -> str:
    test, base = metrics["test"], metrics["base"]
    rows = [
        ("the weights it began with", f"{metrics['baselines']['base_loss']:.4f}", f"{base['perplexity']:.3f}"),
        ("this model", f"{test['loss']:.4f}", f"{base['tuned_perplexity']:.3f}"),
    ]
    share = 100 * recipe.evaluate.confidence
    return f"""On the {test["chats"]:,} test chats ({test["targets"]:,} tokens of answers); lower is better. The second
column is the perplexity on ordinary text that is none of the data ({base["tokens"]:,} tokens): what was forgotten.

{table(("", "nats per token of an answer", "perplexity on ordinary text"), rows)}

The gain is {test["gain"]:.4f} nats a token ({share:g} % of {recipe.evaluate.resamples:,} paired bootstrap resamples of
the chats: {test["gain_low"]:.4f} to {test["gain_high"]:.4f}); the perplexity on ordinary text changed by
{100 * base["perplexity_delta"]:+.2f} %. Of {test["answers"]:,} answers that it wrote itself, greedily, with at most
{recipe.evaluate.answer_tokens:,} tokens, {100 * test["stop_rate"]:.1f} % ended by themselves and
{100 * test["exact_match"]:.1f} % were the given ones to the letter; they had {test["answer_length"]:.1f} tokens on
average, the given ones {test["given_length"]:.1f}."""


def samples(found: Iterable[Mapping[str, str]], given: str = "given") -> str:
    """The section with what it wrote. `given`: what the data's answers are called."""

    def shown(text: str) -> str:
        return " ".join(text.split()).replace("<", "&lt;")

    texts = [
        f"> **{shown(sample['prompt'])}** {shown(sample['text'])}\n>\n> *{given}: {shown(sample['given'])}*"
        for sample in found
    ]
    return "## Samples\n\nGreedy answers to test chats, not picked.\n\n" + "\n\n".join(texts) if texts else ""


def _limits(recipe: "Recipe", metrics: Mapping[str, Any], parity: Mapping[str, Any]) -> Iterable[str]:
    yield (
        "What it says may be false or offensive, as the data are that it and the weights it began with were trained "
        "on; a lower loss says that its answers are more like the given ones, not that they are true."
    )
    yield f"The endpoint writes at most {recipe.serving.max_tokens:,} tokens a request."
    if (ended := metrics["test"]["stop_rate"]) < 1:
        yield f"{100 * (1 - ended):.1f} % of the test answers did not end by themselves within the limit."
    if "int8" in parity:
        yield f"The int8 form's loss was measured on {parity['int8']['tokens']:,} tokens of the test split, not on all."
    yield (
        "Nothing was done to find or remove personal data, bias or copied passages beyond what the recipe's `data` "
        "section says."
    )
