"""What the model card says of an embedder."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.markdown import table
from data.signature import FILE, Signature, TextInput
from pipelines.tasks.interface import Card

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe


def card(recipe: "Recipe", folder: Path, metrics: Mapping[str, Any], parity: Mapping[str, Any]) -> Card:
    """The parts of the card. `folder`: the bundle with the checkpoint's files."""
    signature = Signature.load(folder / FILE)
    return Card(
        library="transformers",
        architecture=f"{recipe.model.kind}, {recipe.model.pooling} pooling, vectors of length 1",
        data="Pairs of texts that people scored by how alike they are; they only serve to judge the weights.",
        counts={"records": "pairs", "bytes": "bytes of text"},
        targets="pairs",
        loss="none",
        output="number, relative to the vector's length",
        parity="batches of several sizes of test items and of random ones, and the golden items' raw bytes",
        quality=_quality(metrics),
        limits=tuple(_limits(signature, parity)),
        more=(_inputs(signature),),
        loading="\n\n`model.safetensors`, `config.json` and the tokenizer's files are a Hugging Face model; pooling "
        "and normalisation are inside the exported graphs alone.",
    )


def _quality(metrics: Mapping[str, Any]) -> str:
    test, baselines = metrics["test"], metrics["baselines"]
    interval = f"{test['spearman_low']:.4f} to {test['spearman_high']:.4f}"
    rows = [
        ("this model", f"{test['spearman']:.4f}", interval),
        ("TF-IDF of the train split", f"{baselines['tfidf_spearman']:.4f}", ""),
        ("shared words", f"{baselines['overlap_spearman']:.4f}", ""),
    ]
    return (
        "Spearman's rank correlation of cosines with people's scores, "
        f"on {test['pairs']:,} pairs of the test split.\n\n"
        + table(("", "Spearman", "95 % interval (bootstrap)"), rows)
    )


def _inputs(signature: Signature) -> str:
    text, output = signature.inputs[0], signature.outputs[0]
    assert isinstance(text, TextInput)
    lines = [
        f"`{text.name}`: a text of at most {text.length:,} tokens; a longer one is refused, not cut.",
        f"`{output.name}`: {output.shape[0]:,} numbers, a vector of length 1: the cosine is the inner product.",
    ]
    lines += [
        f"Before a {what} stands `{prefix}`."
        for what, prefix in (("query", text.query_prefix), ("document", text.document_prefix))
        if prefix
    ]
    return "## Inputs and outputs\n\n" + "\n".join(f"- {line}" for line in lines)


def _limits(signature: Signature, parity: Mapping[str, Any]) -> Iterator[str]:
    yield "What is alike was learnt from texts of others' choice; other languages and fields may do less well."
    yield "Vectors of two models, or of two precisions of one, are not to be mixed in one index."
    if why := parity.get("int8", {}).get("left_out"):
        yield f"It has no int8 form: {why}."
    elif "int8" in parity:
        yield f"The int8 form was judged on {parity['int8']['items']:,} pairs of the test split."
