"""Embeddings of a small BERT that learn to find documents, and to rank pairs as people do."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from base.errors import MetrolineError
from base.files import read_json, sha256, write_json
from data.signature import Signature
from pipelines.evaluation import evaluate
from pipelines.exporting.stage import export
from pipelines.paths import Paths
from pipelines.recipe import kinds
from pipelines.recipe.consistency import problems
from pipelines.recipe.schema import Recipe
from pipelines.tasks.embedding.sides import AnsweredSides
from pipelines.tasks.embedding.trained import Trained
from pipelines.training.stage import train
from tests.pipelines.tasks.embedding import test_line
from tests.pipelines.tasks.retrieval import small_collection
from tests.pipelines.tasks.supervised import small_texts
from tests.pipelines.training.stopped import train_with_a_stop

Line = tuple[Recipe, Paths]
TRAIN: dict[str, Any] = {"steps": 40, "batch": 16, "lr": 0.003, "evaluate_every": 20, "device": "cpu",
                         "precision": "fp32", "compile": "off"}  # fmt: skip


def recipe(**changes: Any) -> Recipe:
    """Of queries and documents; half of a vector is trained to do by itself."""
    values = {
        "name": "finds",
        "data": small_collection.DATA | {"titles": True},
        "split": {"valid": 0.2, "test": 0.3, "duplicates": "keep"},
        "task": {"kind": "embedding", "negatives": 2, "pool": 12, "dimensions": [16], "chunk": 8},
        "train": TRAIN,
        "export": {"batch_sizes": [1, 5], "lengths": [1, 7], "golden": 6, "int8_tolerance": 0.2},
    }
    return test_line.recipe(**(values | changes))


def prepared(root: Path, made: Recipe) -> Paths:
    paths = Paths("finds", root)
    small_collection.write_raw(paths.raw)
    small_texts.write_weights(paths.pretrained / "files")
    kinds.task("embedding")(made).prepare(paths.raw, paths.prepared, paths.pretrained / "files")
    return paths


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    """Trained, evaluated, exported."""
    made = recipe()
    paths = prepared(tmp_path_factory.mktemp("finds"), made)
    train(made, paths)
    evaluate(made, paths, paths.pretrained / "files")
    export(made, paths)
    return made, paths


def test_it_finds_more_than_before_and_than_words(line: Line) -> None:
    metrics = read_json(line[1].metrics)
    test = metrics["test"]
    floors = [*metrics["baselines"].values(), metrics["base"]["ndcg_10"]]
    assert test["ndcg_10"] > max(floors) + 0.05
    assert test["gain"] == pytest.approx(test["ndcg_10"] - max(metrics["baselines"]["bm25_ndcg_10"], floors[-1]))
    assert test["ndcg_10_of_16"] > max(floors)
    curves = (line[1].checkpoint / "curves.jsonl").read_text()
    assert '"valid_ndcg_10"' in curves
    card = (line[1].bundle / "README.md").read_text(encoding="utf-8")
    assert f"| its first 16 numbers | {test['ndcg_10_of_16']:.4f}" in card
    assert "The first 16 numbers are an embedding by themselves" in card
    signature = Signature.load(line[1].bundle / "signature.json")
    assert signature.outputs[0].dimensions == (16,)  # type: ignore[union-attr]


def test_what_answers_is_no_negative(line: Line) -> None:
    sides = AnsweredSides(line[0], line[1].prepared)
    documents = sides.collection
    arrays = sides.train(np.zeros(16, np.int64), np.arange(16))
    assert arrays["first"].shape[0] == 16
    assert 16 < len(arrays["second"]) <= 48
    tokens = [[token for token in row if token] for row in arrays["second"].tolist()]
    for row, (query, answer) in enumerate(sides._train[:16]):
        assert tokens[row] == documents.shown(query, answer)
        against = [tokens[column] for column in np.flatnonzero(arrays["counted"][row]).tolist() if column != row]
        answers = [documents.shown(query, number) for number in query.relevant]
        others = {tuple(each) for number, each in enumerate(documents.tokens) if number not in query.relevant}
        others |= {tuple(each) for number, each in enumerate(documents.body_tokens) if number not in query.relevant}
        assert all(tuple(each) in others for each in against)
        assert arrays["counted"][row, row]
        assert answers
    again = sides.train(np.ones(16, np.int64), np.arange(16))
    assert not np.array_equal(again["second"], arrays["second"])
    same = sides.train(np.zeros(16, np.int64), np.arange(16))
    assert all(np.array_equal(same[name], arrays[name]) for name in arrays)


def test_a_title_is_answered_by_its_text_alone(line: Line) -> None:
    sides = AnsweredSides(line[0], line[1].prepared)
    titles = [(query, answer) for query, answer in sides._train if query.title]
    assert len(titles) == 120
    assert sides.collection.shown(*titles[3]) == sides.collection.body_tokens[titles[3][1]]


def test_a_stop_changes_no_bit(line: Line, tmp_path: Path) -> None:
    made = recipe(train=TRAIN | {"steps": 6, "save_every": 3})
    whole, parts = prepared(tmp_path / "whole", made), prepared(tmp_path / "parts", made)
    train(made, whole)
    train_with_a_stop(made, parts)
    assert sha256(whole.checkpoint / "model.safetensors") == sha256(parts.checkpoint / "model.safetensors")


def test_pairs_with_scores(tmp_path: Path) -> None:
    """People find texts of one mood alike, whatever else is in them."""
    made, paths = test_line.recipe(train=TRAIN), Paths("alike", tmp_path)
    lines = []
    for number in range(160):
        one, other = np.random.default_rng(number).choice([small_texts.GOOD, small_texts.BAD], 2)
        words = [str(word) for word in np.random.default_rng(number).choice(small_texts.OTHERS[:6], 4)]
        pair = {"first": f"{words[0]} {one[number % 4]} {words[1]}", "second": f"{words[2]} {other[0]} {words[3]}"}
        lines.append(json.dumps(pair | {"score": int((one == other).all())}) + "\n")
    path = paths.raw / "files/pairs.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(lines))
    write_json(paths.raw / "source.json", {"kind": "file", "files": {"pairs.jsonl": {"sha256": sha256(path)}}})
    files = paths.pretrained / "files"
    small_texts.write_weights(files)
    task = kinds.task("embedding")(made)
    task.prepare(paths.raw, paths.prepared, files)
    before = task.measure(files, paths.prepared, tmp_path, None).test["spearman"]
    train(made, paths)
    found = task.measure(paths.checkpoint, paths.prepared, tmp_path, None).test["spearman"]
    assert found > max(0.4, before + 0.3)
    assert '"valid_spearman"' in (paths.checkpoint / "curves.jsonl").read_text()


CONTRADICTIONS = {
    "negatives of pairs": ({"data": {"kind": "pairs"}}, "task.negatives: pairs with scores have no negatives"),
    "nothing is trained": ({"train": {}}, "task.dimensions: has no effect where nothing is trained"),
    "few of a label": ({"split": {"method": "given", "per_class": {"train": 1}}}, "queries have no labels"),
    "frozen": ({"pretrained": {"source": {"kind": "file", "path": "a", "sha256": "0" * 64}, "freeze": True}},
               "pretrained.freeze: has no effect"),
}  # fmt: skip


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_recipes_that_contradict_themselves(case: str) -> None:
    changes, message = CONTRADICTIONS[case]
    assert any(message in each for each in problems(recipe(**changes)))
    assert not list(problems(recipe()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": {"kind": "embedding", "dimensions": [16, 32]}}, r"task\.dimensions: 32 of a vector that has 32"),
        ({"train": TRAIN | {"batch": 5000}}, "examples, less than one batch"),
        ({"split": {"valid": 0.0, "test": 0.3, "duplicates": "keep"}}, "the validation split is empty"),
    ],
)
def test_what_cannot_be_trained(tmp_path: Path, changes: Any, message: str) -> None:
    made = recipe(**changes)
    with pytest.raises(MetrolineError, match=message):
        Trained(made, prepared(tmp_path, made).prepared, None)


def test_an_embedder_without_dropout_gives_equal_vectors_in_training_and_after(line: Line) -> None:
    learner = Trained(line[0], line[1].prepared, line[1].pretrained / "files")
    network = learner.network(torch.Generator())
    tokens = torch.tensor([[5, 6, 0], [7, 8, 9]])
    with torch.no_grad():
        torch.testing.assert_close(network.train()(tokens), network.eval()(tokens))
