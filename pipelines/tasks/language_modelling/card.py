"""What a language model's card says: its data, how well it predicts, samples, and what it cannot do."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.files import read_json
from base.markdown import table
from pipelines.tasks.interface import Card

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

COUNTS = {"documents": "documents", "tokens": "tokens", "bytes": "bytes of text"}
PARITY = "prompts, ragged batches, with and without a cache"
LOADING = "\n\n`model.safetensors`, `config.json` and the tokenizer's files make this folder a Hugging Face model."


def card(
    recipe: "Recipe", folder: Path, evaluation: Path, metrics: Mapping[str, Any], parity: Mapping[str, Any]
) -> Card:
    """The parts of the card. `folder`: the bundle with the checkpoint's files; `evaluation`: what `evaluate` wrote."""
    config = read_json(folder / "config.json")
    pictures = frozenset(path.name for path in folder.glob("*.png"))
    shape = config if "vocab_size" in config else config.get("model") or config["decoder"]
    vocabulary = int(shape["vocab_size"])
    return Card(
        library="metroline" if own(config) else "transformers",
        architecture=config["architectures"][0],
        data=_data(recipe, vocabulary),
        counts=COUNTS,
        targets="tokens",
        loss="nats per token",
        output="logit",
        parity=PARITY,
        loading=LOADING,
        quality=_quality(metrics, pictures),
        more=(_samples(read_json(evaluation / "samples.json")),),
        limits=tuple(_limits(recipe, config, metrics, parity)),
        pictures=pictures,
    )


def own(config: Mapping[str, Any]) -> bool:
    """Whether only Metroline can load the checkpoint."""
    return str(config["architectures"][0]).startswith("Metroline")


def _data(recipe: "Recipe", vocabulary: int) -> str:
    made = "which came with the weights" if recipe.pretrained.source else "made from the train split only"
    apart = "No document is in two splits."
    if recipe.split.method == "tail":
        apart = "The splits are parts of the text in reading order: test, train, validation."
    return f"Tokenizer: {recipe.data.tokenizer.kind}, {vocabulary:,} tokens, {made}.\n{apart}"


def _quality(metrics: Mapping[str, Any], pictures: frozenset[str]) -> str:
    test, baselines = metrics["test"], metrics["baselines"]
    rows = [
        ("this model", test["bits_per_byte"], f"{test['loss']:.4f}", f"{test['perplexity']:.2f}"),
        ("bigram counts of the train split", baselines["bigram_bits_per_byte"], "", ""),
        ("`xz -9e`", baselines["xz_bits_per_byte"], "", ""),
    ]
    picture = "\n\n![Test loss per group of documents](groups.png)" if "groups.png" in pictures else ""
    return f"""On the whole test split ({test["tokens"]:,} tokens, {test["bytes"]:,} bytes), each document by itself,
with a context of {test["context"]:,} tokens. Lower is better.

{table(("", "bits per byte", "loss (nats per token)", "perplexity"), rows)}{picture}"""


def _samples(samples: Iterable[Mapping[str, str]]) -> str:
    texts = [
        f"**{sample['prompt'].strip() or '(no prompt)'}** {' '.join(sample['text'].split())}".replace("<", "&lt;")
        for sample in samples
    ]
    if not texts:
        return ""
    return "## Samples\n\nDrawn with a fixed seed, not chosen.\n\n" + "\n\n".join(f"> {text}" for text in texts)


def _limits(
    recipe: "Recipe", config: Mapping[str, Any], metrics: Mapping[str, Any], parity: Mapping[str, Any]
) -> list[str]:
    groups = metrics.get("groups", {})
    worst = max(groups, key=lambda name: groups[name]["bits_per_byte"], default=None)
    manner = (
        "What it writes may be false or offensive as the data are that others trained it on."
        if recipe.pretrained.source
        else "It continues text in the manner of its data. It does not answer questions, follow instructions or know "
        "facts, and what it writes may be false or offensive as its data are."
    )
    limits = [
        manner,
        f"It sees at most {metrics['test']['context']:,} tokens at a time.",
        f"The endpoint writes at most {recipe.serving.max_tokens:,} tokens a request.",
        "Nothing was done to find or remove personal data, bias or copied passages beyond what the recipe's "
        "`clean` section says.",
    ]
    if worst is not None:
        limits.append(
            f"It is weakest on {recipe.evaluate.group_by} {worst}: {groups[worst]['bits_per_byte']:.3f} bits per byte."
        )
    if "int8" in parity:
        limits.append(
            f"The int8 form's loss was measured on {parity['int8']['tokens']:,} tokens of the test split, not on all."
        )
    if own(config):
        limits.append("Its architecture is Metroline's own; `transformers` does not load it.")
    return limits
