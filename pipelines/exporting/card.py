"""The model card: README.md of a bundle, for people, and with the head that the Hugging Face hub reads.

Only what was measured or configured goes in; a part whose numbers are missing is left out. No time stamps. What is said
of the data, of how good the model is and of its limits comes from the task.
Format: https://huggingface.co/docs/hub/model-cards
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from base.forms import FORMS
from base.markdown import table
from pipelines.tasks.interface import Card

if TYPE_CHECKING:
    from data.signature import Signature
    from pipelines.recipe.schema import Recipe


def render(
    recipe: "Recipe", index: Mapping[str, Any], training: Mapping[str, Any], parity: Mapping[str, Any],
    signature: "Signature", parts: Card,
) -> str:  # fmt: skip
    """The card's Markdown.

    Args:
        recipe: the checked recipe.
        index: `index.json` of the prepared data.
        training: `training.json` of the checkpoint.
        parity: `parity.json`.
        signature: of the bundle.
        parts: what the task says.
    """
    head = {
        "license": "other",
        "license_name": recipe.licence,
        "library_name": parts.library,
        "pipeline_tag": signature.task,
        "tags": ["metroline", "onnx"],
    }
    sections = [
        "---\n" + yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=1000) + "---",
        f"# {recipe.name}\n\n{recipe.description}",
        _data(recipe, index, parts),
        _model(training, parts),
        f"## How good it is\n\n{parts.quality}",
        _forms(parity, parts),
        *parts.more,
        "## Limits\n\n" + "\n".join(f"- {limit}" for limit in parts.limits),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _data(recipe: "Recipe", index: Mapping[str, Any], parts: Card) -> str:
    source = recipe.source.model_dump(mode="json", exclude_none=True, exclude_defaults=False)
    if "path" in source:
        source["path"] = Path(source["path"]).name  # where it lies on its maker's machine is nobody's business
    said = ", ".join(f"{key} `{value}`" for key, value in source.items() if isinstance(value, str))
    names: Iterable[str] = {name: None for part in index["splits"].values() for name, value in part.items()
                            if isinstance(value, int)}  # fmt: skip
    shown = [name for name in names if name in parts.counts]
    splits = table(
        ("split", *(parts.counts[name] for name in shown)),
        ((split, *(part.get(name, "") for name in shown)) for split, part in index["splits"].items()),
    )
    return f"""## Data

Source: {said}.
Licence: {recipe.licence}.
{parts.data} Hash of the data: `{index["data_hash"]}`.

{splits}"""


def _model(training: Mapping[str, Any], parts: Card) -> str:
    facts = [("architecture", parts.architecture)]
    facts += [
        (word, training[key])
        for key, word in (
            ("parameters", "parameters"),
            ("trained", "numbers trained; all others are frozen"),
            ("step", "optimizer steps"),
            ("tokens", f"{parts.targets} trained on"),
            ("valid_loss", f"validation loss ({parts.loss})"),
            ("precision", "precision of training"),
        )
        if training.get(key) is not None
    ]
    for key, said in (("imported", "imported from"), ("began_with", "trained from")):
        facts += [(f"{said} `{name}`", f"sha256 `{digest}`") for name, digest in training.get(key, {}).items()]
    said = ""
    if "imported" in training:
        said = "\n\nThe weights are others' work, taken as they are; the data above only serve to judge them."
    picture = "\n\n![Loss over training](curves.png)" if "curves.png" in parts.pictures else ""
    return f"## Model and training\n\n{table(('', ''), facts)}{said}{picture}"


def _forms(parity: Mapping[str, Any], parts: Card) -> str:
    there = {form: parity[form] for form in FORMS if form in parity}
    if not there:
        return ""
    deltas = list(dict.fromkeys(name for found in there.values() for name in found if name.endswith("_delta")))
    rows = []
    for form, found in there.items():
        size = f"{found['bytes'] / 1e6:.1f}" if "bytes" in found else "—"
        changes = (f"{100 * found[name]:+.3f} %" if name in found else "—" for name in deltas)
        rows.append((f"`{FORMS[form].file}`", FORMS[form].words, size, f"{found['max_abs']:.2g}", *changes))
    words = (f"change of the {name.removesuffix('_delta').replace('_', ' ')}" for name in deltas)
    return f"""## Exported forms

Each was run against the checkpoint: {parts.parity} ({len(parity["onnx"]["cases"])}
cases; `parity.json` has them all).

{table(("file", "for", "MB", f"largest difference of a {parts.output}", *words), rows)}{parts.loading}"""
