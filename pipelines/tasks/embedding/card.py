"""What the model card says of an embedder."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.markdown import table
from data.signature import FILE, Signature, TextInput, VectorOutput
from pipelines.tasks import encoder_folder
from pipelines.tasks.interface import Card

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe


DATA = {
    "pairs": "Pairs of texts that people scored by how alike they are; imported weights are only judged by them.",
    "judged": "Queries, documents, and which answers which; imported weights are only judged by them.",
}


def card(recipe: "Recipe", folder: Path, metrics: Mapping[str, Any], parity: Mapping[str, Any]) -> Card:
    """The parts of the card. `folder`: the bundle with the checkpoint's files."""
    signature = Signature.load(folder / FILE)
    return Card(
        library=encoder_folder.library(folder),
        architecture=f"{recipe.model.kind}, {recipe.model.pooling} pooling, vectors of length 1",
        data=DATA[recipe.data.kind],
        counts={"records": "pairs, or queries and documents", "bytes": "bytes of text"},
        targets="pairs",
        loss="nats",
        output="number, relative to the vector's length",
        parity="batches of several sizes of test items and of random ones, and the golden items' raw bytes",
        quality=_quality(metrics),
        limits=tuple(_limits(signature, parity)),
        more=(_inputs(signature),),
        loading=f"{encoder_folder.loading(folder)}; pooling and normalisation are inside the exported graphs alone.",
    )


def _found(metrics: Mapping[str, Any]) -> str:
    """What is measured of searching documents."""
    test, baselines = metrics["test"], metrics["baselines"]
    rows = [("this model", f"{test['ndcg_10']:.4f}", f"{test['ndcg_10_low']:.4f} to {test['ndcg_10_high']:.4f}")]
    rows += [(f"its first {name.rpartition('_')[2]} numbers", f"{value:.4f}", "")
             for name, value in test.items() if name.startswith("ndcg_10_of_")]  # fmt: skip
    if base := metrics.get("base"):
        rows.append(("the weights that training began with", f"{base['ndcg_10']:.4f}", ""))
    rows.append(("BM25", f"{baselines['bm25_ndcg_10']:.4f}", ""))
    rows.append(("means of the tokens' vectors", f"{baselines['words_ndcg_10']:.4f}", ""))
    return (
        f"nDCG@10 of searching all documents for {test['queries']:,} queries of the test split; "
        f"{100 * test['recall_100']:.1f} % of what answers is among the first 100.\n\n"
        + table(("", "nDCG@10", "95 % interval (bootstrap)"), rows)
        + f"\n\nThe gain over the best of the others is {test['gain']:.4f}; its 95 % interval, by a paired bootstrap "
        f"over the queries, is {test['gain_low']:.4f} to {test['gain_high']:.4f}."
    )


def _quality(metrics: Mapping[str, Any]) -> str:
    test, baselines = metrics["test"], metrics["baselines"]
    if "ndcg_10" in test:
        return _found(metrics)
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
    assert isinstance(output, VectorOutput)
    lines = [
        f"`{text.name}`: a text of at most {text.length:,} tokens; a longer one is refused, not cut.",
        f"`{output.name}`: {output.shape[0]:,} numbers, a vector of length 1: the cosine is the inner product.",
    ]
    if output.dimensions:
        firsts = " or ".join(map(str, output.dimensions))
        lines.append(f"The first {firsts} numbers are an embedding by themselves, once of length 1 again.")
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
        yield f"The int8 form was judged on {parity['int8']['items']:,} items of the test split."
