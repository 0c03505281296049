"""The model card: README.md of a bundle, for people, and with the head that the Hugging Face hub reads.

Only what was measured or configured goes in; a part whose numbers are missing is left out. No time stamps.
Format: https://huggingface.co/docs/hub/model-cards
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

FORMS = {
    "onnx": ("model.onnx", "ONNX Runtime, float32"),
    "int8": ("model.int8.onnx", "ONNX Runtime, int8 weights"),
    "int4": ("model.int4.onnx", "ONNX Runtime, int4 weights"),
    "pt2": ("model.pt2", "torch.export"),
    "torchscript": ("model.ts", "TorchScript (legacy: deprecated by PyTorch)"),
}


def render(
    recipe: "Recipe",
    *,
    index: Mapping[str, Any],
    config: Mapping[str, Any],
    training: Mapping[str, Any],
    metrics: Mapping[str, Any],
    parity: Mapping[str, Any],
    samples: Iterable[Mapping[str, str]],
    pictures: Iterable[str],
) -> str:
    """The card's Markdown.

    Args:
        recipe: the checked recipe.
        index: `index.json` of the prepared data.
        config: the Hugging Face `config.json`.
        training: `training.json` of the checkpoint.
        metrics: `metrics.json`.
        parity: `parity.json`.
        samples: [{"prompt", "text"}].
        pictures: files of the bundle to show, of `curves.png` and `groups.png`.
    """
    pictures = set(pictures)
    head = {
        "license": "other",
        "license_name": recipe.licence,
        "library_name": "metroline" if own(config) else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["metroline", "onnx"],
    }
    parts = [
        "---\n" + yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=1000) + "---",
        f"# {recipe.name}\n\n{recipe.description}",
        _data(recipe, index),
        _model(config, training, pictures),
        _metrics(metrics, pictures),
        _forms(parity),
        _samples(samples),
        _limits(recipe, config, metrics, parity),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def own(config: Mapping[str, Any]) -> bool:
    """Whether only Metroline can load the checkpoint."""
    return str(config["architectures"][0]).startswith("Metroline")


def table(head: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> str:
    """A Markdown table. Numbers are shown with four significant digits, counts with commas."""

    def cell(value: Any) -> str:
        if isinstance(value, int):
            return f"{value:,}"
        return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")

    lines = [head, ("---",) * len(head), *(tuple(map(cell, row)) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _data(recipe: "Recipe", index: Mapping[str, Any]) -> str:
    source = recipe.source.model_dump(mode="json", exclude_none=True, exclude_defaults=False)
    if "path" in source:
        source["path"] = Path(source["path"]).name  # where it lies on its maker's machine is nobody's business
    said = ", ".join(f"{key} `{value}`" for key, value in source.items() if isinstance(value, str))
    splits = table(
        ("split", "documents", "tokens", "bytes of text"),
        ((name, part["documents"], part["tokens"], part["bytes"]) for name, part in index["splits"].items()),
    )
    made = "which came with the weights" if recipe.pretrained.source else "made from the train split only"
    apart = "No document is in two splits."
    if recipe.split.method == "tail":
        apart = "The splits are parts of the text in reading order: test, train, validation."
    return f"""## Data

Source: {said}.
Licence: {recipe.licence}.
Tokenizer: {recipe.tokenizer.kind}, {index["vocab_size"]:,} tokens, {made}.
{apart} Hash of the data: `{index["data_hash"]}`.

{splits}"""


def _model(config: Mapping[str, Any], training: Mapping[str, Any], pictures: set[str]) -> str:
    facts = [("architecture", config["architectures"][0])]
    facts += [
        (word, training[key])
        for key, word in (
            ("parameters", "parameters"),
            ("step", "optimizer steps"),
            ("tokens", "tokens trained on"),
            ("valid_loss", "validation loss (nats per token)"),
            ("precision", "precision of training"),
        )
        if training.get(key) is not None
    ]
    facts += [
        (f"imported from `{name}`", f"sha256 `{digest}`") for name, digest in training.get("imported", {}).items()
    ]
    said = ""
    if "imported" in training:
        said = "\n\nThe weights are others' work, taken as they are; the data above only serve to judge them."
    picture = "\n\n![Loss over training](curves.png)" if "curves.png" in pictures else ""
    return f"## Model and training\n\n{table(('', ''), facts)}{said}{picture}"


def _metrics(metrics: Mapping[str, Any], pictures: set[str]) -> str:
    test, baselines = metrics["test"], metrics["baselines"]
    rows = [
        ("this model", test["bits_per_byte"], f"{test['loss']:.4f}", f"{test['perplexity']:.2f}"),
        ("bigram counts of the train split", baselines["bigram_bits_per_byte"], "", ""),
        ("`xz -9e`", baselines["xz_bits_per_byte"], "", ""),
    ]
    picture = "\n\n![Test loss per group of documents](groups.png)" if "groups.png" in pictures else ""
    return f"""## How good it is

On the whole test split ({test["tokens"]:,} tokens, {test["bytes"]:,} bytes), each document by itself, with a context of
{test["context"]:,} tokens. Lower is better.

{table(("", "bits per byte", "loss (nats per token)", "perplexity"), rows)}{picture}"""


def _forms(parity: Mapping[str, Any]) -> str:
    rows = []
    for form, (file, words) in FORMS.items():
        if form in parity:
            found = parity[form]
            delta = f"{100 * found['loss_delta']:+.3f} %" if "loss_delta" in found else "—"
            rise = f"{100 * found['perplexity_delta']:+.3f} %" if "perplexity_delta" in found else "—"
            size = f"{found['bytes'] / 1e6:.1f}" if "bytes" in found else "—"
            rows.append((f"`{file}`", words, size, f"{found['max_abs']:.2g}", delta, rise))
    return f"""## Exported forms

Each was run against the checkpoint: prompts, ragged batches, with and without a cache ({len(parity["onnx"]["cases"])}
cases; `parity.json` has them all).

{table(("file", "for", "MB", "largest difference of a logit", "change of the loss", "of perplexity"), rows)}

`model.safetensors`, `config.json` and the tokenizer's files make this folder a Hugging Face model."""


def _samples(samples: Iterable[Mapping[str, str]]) -> str:
    texts = [
        f"**{sample['prompt'].strip() or '(no prompt)'}** {' '.join(sample['text'].split())}".replace("<", "&lt;")
        for sample in samples
    ]
    if not texts:
        return ""
    return "## Samples\n\nDrawn with a fixed seed, not chosen.\n\n" + "\n\n".join(f"> {text}" for text in texts)


def _limits(recipe: "Recipe", config: Mapping[str, Any], metrics: Mapping[str, Any], parity: Mapping[str, Any]) -> str:
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
    return "## Limits\n\n" + "\n".join(f"- {limit}" for limit in limits)
