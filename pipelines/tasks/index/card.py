"""What the model card says of an index."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.files import read_object
from base.manifest import NAME
from base.markdown import table
from pipelines.tasks.index.embedder import FOLDER
from pipelines.tasks.interface import Card

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

WAYS = {"vectors": "vector", "words (BM25)": "text", "both": "hybrid", "both, reranked": "reranked"}


def card(recipe: "Recipe", folder: Path, metrics: Mapping[str, Any]) -> Card:
    """The parts of the card. `folder`: the bundle."""
    test = metrics["test"]
    embedder = read_object(folder / FOLDER / NAME)["released"]
    data = recipe.data
    return Card(
        library="metroline",
        architecture=f"{test['chunks']:,} chunks of {test['documents']:,} documents, at most {data.length} tokens "
        f"each, {data.overlap} of them of the chunk before; embedded by `{embedder['name']}:{embedder['version']}`",
        data="Each chunk is a range of bytes of a document, whose hash the index holds.",
        counts={"questions": "questions"},
        targets="chunks",
        loss="none",
        output="score",
        parity="",
        quality=_quality(metrics),
        limits=(
            "It finds passages; whether they are true is the documents' business.",
            "Words and vectors are of the languages of the embedder and of `model.language`.",
            "Built twice, its table has other bytes: LanceDB names its files at random. Vectors and chunks are equal.",
        ),
    )


def _quality(metrics: Mapping[str, Any]) -> str:
    test, baselines = metrics["test"], metrics["baselines"]
    names = ("recall_at_1", "recall_at_5", "ndcg_at_10")
    rows = []
    default = "reranked" if "hybrid_recall_at_1" in baselines else "hybrid"
    for name_of, way in WAYS.items():
        if way == default:
            rows.append((name_of, *(f"{test[name]:.3f}" for name in names)))
        elif f"{way}_{names[0]}" in baselines:
            rows.append((name_of, *(f"{baselines[f'{way}_{name}']:.3f}" for name in names)))
    rows.append(("a chunk at random", f"{baselines['random_recall_at_1']:.3f}", "", ""))
    what = "people's questions of the test split" if "answered_share" in test else "sentences of the chunks themselves"
    said = (
        f"{test['questions']:,} {what}: whether the chunk that answers is among the first.\n\n"
        + table(("search by", "recall@1", "recall@5", "nDCG@10"), rows)
        + f"\n\nOf the ten nearest chunks the table finds {100 * test['exact_recall']:.1f} %. Below a "
        f"{'score' if default == 'reranked' else 'cosine'} of {test['threshold']:.3f} nothing found counts as relevant"
    )
    if "answered_share" not in test:
        return said + "."
    return (
        said + f": {100 * test['answered_share']:.1f} % of the questions are above it, and "
        f"{100 * test['refused_share']:.1f} % below it once their document is taken away."
    )
