"""A reranker that begins with the weights of a small BERT, from fetched files to a bundle that serves."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from base.errors import BadItem, MetrolineError
from base.files import read_json, sha256
from data import golden
from data.records import Records
from pipelines.evaluation import evaluate
from pipelines.exporting.stage import export
from pipelines.paths import Paths
from pipelines.recipe import kinds
from pipelines.recipe.consistency import problems
from pipelines.recipe.schema import Recipe
from pipelines.tasks.rerank.learner import Learner
from pipelines.tasks.rerank.network import read, scores
from pipelines.tasks.retrieval.collection import Collection
from pipelines.training.stage import train
from serving.runtime.reranker import Reranker
from tests.pipelines.tasks.retrieval import small_collection
from tests.pipelines.tasks.supervised import small_texts
from tests.pipelines.training.stopped import train_with_a_stop
from tests.serving import forward_bundles

Line = tuple[Recipe, Paths]


def recipe(**changes: Any) -> Recipe:
    """A reranker from the small BERT."""
    values: dict[str, Any] = {
        "name": "glad",
        "description": "glad",
        "licence": "none",
        "source": {"kind": "file", "path": "glad", "sha256": "0" * 64},
        "pretrained": {"source": {"kind": "file", "path": "small-bert", "sha256": "0" * 64}},
        "data": small_collection.DATA,
        "split": {"valid": 0.2, "test": 0.3, "duplicates": "keep"},
        "task": {"kind": "rerank", "negatives": 3, "pool": 12},
        "model": {"kind": "encoder"},
        "train": {"steps": 40, "batch": 8, "lr": 0.003, "evaluate_every": 20, "device": "cpu", "precision": "fp32",
                  "compile": "off"},
        "evaluate": {"depth": 20},
        "export": {"batch_sizes": [1, 5], "lengths": [1, 7], "golden": 6, "int8_tolerance": 0.1},
    }  # fmt: skip
    return Recipe.of(values | changes)


def prepared(root: Path, made: Recipe, **changes: Any) -> Paths:
    paths = Paths("glad", root)
    small_collection.write_raw(paths.raw, **changes)
    small_texts.write_weights(paths.pretrained / "files")
    kinds.task("rerank")(made).prepare(paths.raw, paths.prepared, paths.pretrained / "files")
    return paths


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    """Trained, evaluated, exported."""
    made = recipe()
    paths = prepared(tmp_path_factory.mktemp("glad"), made)
    train(made, paths)
    evaluate(made, paths)
    export(made, paths)
    return made, paths


def test_what_is_prepared(line: Line) -> None:
    index = read_json(line[1].prepared / "index.json")
    assert index["splits"]["documents"]["records"] == 120
    dropped = [index["splits"][split]["dropped"] for split in ("train", "valid", "test")]
    assert sum(each.get("empty or longer than data.query_length", 0) for each in dropped) == 1
    assert sum(each.get("no document answers it", 0) for each in dropped) >= 1
    collection = Collection(line[1].prepared)
    for query in collection.queries("test"):
        assert set(query.negatives).isdisjoint(query.relevant)
        for number in query.relevant:
            assert set(query.text.split()[:2]) <= set(collection.texts[number].split())
    assert collection.texts[0].split()[0] == Records(line[1].prepared, "documents").inputs(0)[0].decode()


def test_it_learns_what_bm25_cannot_see(line: Line) -> None:
    metrics = read_json(line[1].metrics)
    test, baselines = metrics["test"], metrics["baselines"]
    assert baselines["bm25_ndcg_10"] + 0.1 < test["ndcg_10"] <= baselines["perfect_ndcg_10"]
    assert test["gain_low"] > 0
    assert set(kinds.task("rerank").measured) >= {f"test.{name}" for name in test}
    card = (line[1].bundle / "README.md").read_text(encoding="utf-8")
    assert f"{test['ndcg_10']:.4f}" in card
    assert "of the 20 documents that BM25 finds" in card


def test_what_it_says_is_how_often_it_is_right(line: Line) -> None:
    """Calibrated on valid: of its documents as many answer as their probabilities sum up to."""
    collection = Collection(line[1].prepared)
    network = read(line[0], collection.index, line[1].checkpoint)
    pairs, answers = [], []
    for query in collection.queries("valid"):
        for number in dict.fromkeys((*query.relevant, *query.candidates[:10])):
            pairs.append((query.tokens, collection.tokens[number]))
            answers.append(number in query.relevant)
    likely = 1 / (1 + np.exp(-(float(network.scale) * scores(network, pairs) + float(network.shift))))
    assert likely.sum() == pytest.approx(sum(answers), rel=0.02)


def test_scores_do_not_depend_on_their_neighbours(line: Line) -> None:
    """Alone and among texts of other lengths, of both forms; and both forms answer the golden items."""
    for precision in ("fp32", "int8"):
        reranker = Reranker.load(line[1].bundle, precision)
        texts = ["good film", "bad", "the film was good and warm", "a day", "poor film and cold day was the"] * 3
        together = reranker.score("the film", texts)
        alone = np.concatenate([reranker.score("the film", [text]) for text in texts])
        assert together.tobytes() == alone.tobytes()
        assert together[0] > together[4]
        assert together.min() >= 0
        assert together.max() <= 1
    with pytest.raises(BadItem, match="document: 11 tokens, more than 10"):
        reranker.score("the film", ["good", "good " * 11])
    assert reranker.cut("good film " * 9) == "good film good film good film good film good film"
    assert reranker.cut("good film", 1) == "good"


def test_the_entry_point_answers_what_the_trained_network_does(line: Line) -> None:
    reranker = Reranker.load(line[1].bundle, "fp32")
    for item in golden.load(line[1].bundle, kinds.task("rerank")(line[0]).signature(line[1].prepared)):
        query, document = (raw.decode() for raw in item.inputs)
        assert reranker.score(query, [document])[0] == pytest.approx(item.outputs["relevance"]["relevant"], abs=1e-4)


def test_a_bundle_that_ranks_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MetrolineError, match="mood ranks no documents"):
        Reranker.load(forward_bundles.texts(tmp_path / "mood"))


def test_training_twice_and_after_a_stop_gives_equal_bytes(line: Line, tmp_path: Path) -> None:
    made = recipe(train={**line[0].train.model_dump(exclude_unset=True), "steps": 6, "save_every": 3})
    whole, parts = prepared(tmp_path / "whole", made), prepared(tmp_path / "parts", made)
    train(made, whole)

    train_with_a_stop(made, parts)
    assert sha256(whole.checkpoint / "model.safetensors") == sha256(parts.checkpoint / "model.safetensors")


def test_negatives_are_others_in_each_epoch_and_never_answers(line: Line) -> None:
    learner = Learner(line[0], line[1].prepared, line[1].pretrained / "files")
    collection, size = learner.collection, 1 + line[0].task.negatives
    shown = []
    for epoch in (0, 1, 1):
        batch = learner.batch(np.full(4, epoch), np.arange(4), 1, torch.device("cpu"))
        assert batch.targets == 4
        documents = batch.inputs["document"].unflatten(0, (4, size))
        shown.append(documents.tolist())
        for (query, answer), group in zip(learner.train[:4], documents.tolist(), strict=True):
            texts = [[token for token in row if token] for row in group]
            assert texts[0] == collection.tokens[answer]
            others = [number for number, tokens in enumerate(collection.tokens) if tokens in texts[1:]]
            assert others
            assert not all(number in query.relevant for number in others)
    assert shown[1] == shown[2] != shown[0]


CONTRADICTIONS = {
    "no training": ({"train": {}}, "train: nothing is learnt without keys"),
    "no weights": ({"pretrained": {}}, "pretrained.source: a reranker begins with"),
    "frozen": ({"pretrained": {"source": {"kind": "file", "path": "a", "sha256": "0" * 64}, "freeze": True}},
               "pretrained.freeze: a reranker's body has to learn"),
    "a tokenizer of one's own": ({"data": small_collection.DATA | {"tokenizer": {"kind": "bpe"}}},
                                 "must be pretrained"),
    "another network": ({"model": {"kind": "text-cnn"}}, "by an encoder, not by text-cnn"),
    "too deep": ({"evaluate": {"depth": 30}}, "evaluate.depth: 30 is more than data.candidates (20)"),
    "few of a label": ({"split": {"method": "given", "per_class": {"train": 1}}}, "queries have no labels"),
}  # fmt: skip


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_recipes_that_contradict_themselves(case: str) -> None:
    changes, message = CONTRADICTIONS[case]
    assert any(message in each for each in problems(recipe(**changes)))
    assert not list(problems(recipe()))


def data(**changes: Any) -> dict[str, Any]:
    """The section with other keys of its queries."""
    return {"data": small_collection.DATA | {"queries": {"rows": {"files": "queries*"}} | changes}}


@pytest.mark.parametrize(
    ("changes", "columns", "message"),
    [
        (data(text="txt"), {}, r"queries.jsonl:1: no column 'txt'.*did you mean text"),
        ({}, {"relevant": "d1 d999"}, r"queries.jsonl:1: there is no document 'd999'"),
        ({}, {"id": "same"}, r"query 'same' has another text in queries.jsonl:1"),
        ({}, {"relevant": ""}, "the train split has no query"),
        (data(rows={"files": "*.csv"}), {}, r"no fetched file matches '\*\.csv'"),
        ({"data": small_collection.DATA | {"documents": {"rows": {"files": "documents*"}, "id": "title"}}}, {},
         "a second document"),
    ],
)  # fmt: skip
def test_data_that_cannot_be_used(tmp_path: Path, changes: Any, columns: Any, message: str) -> None:
    with pytest.raises(MetrolineError, match=message):
        prepared(tmp_path, recipe(**changes), **columns)


def test_a_query_that_all_documents_answer_is_refused(tmp_path: Path) -> None:
    made = recipe()
    paths = prepared(tmp_path, made, relevant=" ".join(f"d{number}" for number in range(120)))
    with pytest.raises(MetrolineError, match="all documents answer"):
        Learner(made, paths.prepared, None)


def test_a_pair_longer_than_the_network_is_refused(tmp_path: Path) -> None:
    made = recipe(data=small_collection.DATA | {"length": 14})  # 8 + 14 + [CLS] + 2 [SEP]: 25; the network has 24
    paths = prepared(tmp_path, made)
    with pytest.raises(MetrolineError, match=r"a pair has 25 tokens.*lower data\.length"):
        train(made, paths)
