"""What the model card says of a reranker."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.markdown import table
from data.signature import FILE, Signature, TextInput
from pipelines.tasks import encoder_folder
from pipelines.tasks.interface import Card

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe


def card(recipe: "Recipe", folder: Path, metrics: Mapping[str, Any], parity: Mapping[str, Any]) -> Card:
    """The parts of the card. `folder`: the bundle with the checkpoint's files."""
    signature = Signature.load(folder / FILE)
    return Card(
        library=encoder_folder.library(folder),
        architecture=f"{recipe.model.kind} over query and document together; the mean over the query's tokens of the "
        "cosine with the document's token that is most alike",
        data="Queries, documents, and which answers which; for each query the documents that BM25 finds are known. "
        + ("In training documents' titles ask for their texts too." if recipe.data.titles else ""),
        counts={"records": "queries, or documents", "bytes": "bytes of text"},
        targets="queries with an answer",
        loss="nats: which of the documents answers",
        output="probability",
        parity="batches of several sizes of test pairs and of random ones, and the golden items' raw bytes",
        quality=_quality(recipe, metrics),
        limits=tuple(_limits(parity)),
        more=(_inputs(signature),),
        loading=f"{encoder_folder.loading(folder)}; that is the body: how tokens are matched and what makes it a "
        "probability is inside the exported graphs alone.",
    )


def _quality(recipe: "Recipe", metrics: Mapping[str, Any]) -> str:
    test, baselines = metrics["test"], metrics["baselines"]
    rows = [
        ("this model", f"{test['ndcg_10']:.4f}", f"{test['ndcg_10_low']:.4f} to {test['ndcg_10_high']:.4f}"),
        ("BM25's own order", f"{baselines['bm25_ndcg_10']:.4f}", ""),
        ("the best order of the same documents", f"{baselines['perfect_ndcg_10']:.4f}", ""),
    ]
    return (
        f"nDCG@10 of the {recipe.evaluate.depth} documents that BM25 finds for each of {test['queries']:,} queries of "
        f"the test split, put into a new order; {100 * test['found']:.1f} % of what answers is among them.\n\n"
        + table(("", "nDCG@10", "95 % interval (bootstrap)"), rows)
        + f"\n\nThe gain over BM25 is {test['gain']:.4f}; its 95 % interval, by a paired bootstrap over the queries, "
        f"is {test['gain_low']:.4f} to {test['gain_high']:.4f}."
    )


def _inputs(signature: Signature) -> str:
    lines = [
        f"`{each.name}`: a text of at most {each.length:,} tokens; a longer one is refused, not cut."
        for each in signature.inputs
        if isinstance(each, TextInput)
    ]
    lines.append(
        "`relevance`: the probability that the document answers the query, of what BM25 would find first; fitted on "
        "the validation split."
    )
    return "## Inputs and outputs\n\n" + "\n".join(f"- {line}" for line in lines)


def _limits(parity: Mapping[str, Any]) -> Iterator[str]:
    yield "It reads each document anew for every query: it puts tens of found documents in order, it searches none."
    yield "What answers a query was judged by others on their own field; elsewhere its scores are not probabilities."
    if why := parity.get("int8", {}).get("left_out"):
        yield f"It has no int8 form: {why}."
    elif "int8" in parity:
        yield f"The int8 form was judged on {parity['int8']['items']:,} pairs of the test split."
