"""Imported embeddings of a small BERT, from fetched files to a bundle that serves."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from base.errors import MetrolineError
from base.files import read_json, sha256, write_json
from data import golden
from data.records import Records
from pipelines.evaluation import evaluate
from pipelines.exporting.stage import export
from pipelines.paths import Paths
from pipelines.recipe import kinds
from pipelines.recipe.consistency import problems
from pipelines.recipe.schema import Recipe
from pipelines.tasks.embedding.imported import read
from pipelines.tasks.embedding.pairs import spearman
from pipelines.training.imported import import_weights
from serving.engines.forward.graph import ForwardGraph
from serving.engines.forward.preparation import Preparation
from serving.runtime.bundles import load
from tests.pipelines.tasks.supervised import small_texts

Line = tuple[Recipe, Paths]
WORDS = (*small_texts.GOOD, *small_texts.BAD, *small_texts.OTHERS[:6])


def recipe(**changes: Any) -> Recipe:
    """The small BERT, imported."""
    values: dict[str, Any] = {
        "name": "alike",
        "description": "alike",
        "licence": "none",
        "source": {"kind": "file", "path": "alike", "sha256": "0" * 64},
        "pretrained": {"source": {"kind": "file", "path": "small-bert", "sha256": "0" * 64}},
        "data": {"kind": "pairs", "length": 16},
        "split": {"valid": 0.2, "test": 0.4, "duplicates": "keep"},
        "task": {"kind": "embedding", "query_prefix": "the "},
        "model": {"kind": "encoder"},
        "train": {},
        "export": {"batch_sizes": [1, 5], "lengths": [1, 7], "golden": 6, "int8_tolerance": 0.5},
    }
    return Recipe.of(values | changes)


def write_raw(raw: Path, **columns: Any) -> None:
    """Pairs whose score is the share of words that they have in common, so that any mean of words does well."""
    draw = np.random.default_rng(3)
    lines = []
    for _ in range(150):
        one = list(draw.choice(WORDS, 5))
        other = [word if draw.random() < 0.6 else str(draw.choice(WORDS)) for word in one]
        score = sum(a == b for a, b in zip(one, other, strict=True))
        lines.append({"first": " ".join(one), "second": " ".join(other), "score": score})
    lines += [{"first": "good " * 30, "second": "a", "score": 1}, {"first": "a", "second": "b", "score": None}]
    path = raw / "files/pairs.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(line | columns) + "\n" for line in lines))
    write_json(raw / "source.json", {"kind": "file", "files": {"pairs.jsonl": {"sha256": sha256(path)}}})


def prepared(root: Path, made: Recipe, **columns: Any) -> Paths:
    paths = Paths("alike", root)
    write_raw(paths.raw, **columns)
    small_texts.write_weights(paths.pretrained / "files")
    kinds.task("embedding")(made).prepare(paths.raw, paths.prepared, paths.pretrained / "files")
    return paths


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    """Imported, evaluated, exported."""
    made = recipe()
    paths = prepared(tmp_path_factory.mktemp("alike"), made)
    import_weights(made, paths)
    evaluate(made, paths)
    export(made, paths)
    return made, paths


def test_what_is_prepared(line: Line) -> None:
    splits = [Records(line[1].prepared, split).index["splits"][split] for split in ("train", "valid", "test")]
    assert sum(each["records"] for each in splits) == 150
    reasons = [reason for each in splits for reason in each["dropped"]]
    assert sorted(reasons) == ["empty or longer than data.length", "no score"]
    signature = kinds.task("embedding")(line[0]).signature(line[1].prepared)
    assert (signature.inputs[0].length, signature.inputs[0].query_prefix) == (16, "the ")
    assert signature.outputs[0].shape == (32,)


def test_vectors_are_those_of_transformers(line: Line) -> None:
    """The mean over [CLS], the text and [SEP], of length 1."""
    transformers = pytest.importorskip("transformers")
    model = transformers.BertModel.from_pretrained(line[1].checkpoint).eval()
    tokens = torch.tensor([[5, 9, 13, 0], [6, 6, 15, 16]])
    framed = torch.tensor([[2, 5, 9, 13, 3, 0], [2, 6, 6, 15, 16, 3]])
    mask = (framed != 0).long()
    with torch.no_grad():
        found = read(line[0], line[1].prepared, line[1].checkpoint)(tokens)
        hidden = model(input_ids=framed, attention_mask=mask).last_hidden_state
    mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    torch.testing.assert_close(found, torch.nn.functional.normalize(mean, dim=1), atol=1e-6, rtol=1e-5)


def test_what_is_measured(line: Line) -> None:
    metrics = read_json(line[1].metrics)
    test = metrics["test"]
    assert test["spearman_low"] <= test["spearman"] <= test["spearman_high"] <= 1
    assert test["spearman"] > 0.5
    assert metrics["baselines"]["overlap_spearman"] > 0.8
    assert metrics["primary"] == {
        "metric": "test.spearman", "better": "higher", "floor": "baselines.tfidf_spearman"}  # fmt: skip
    assert set(kinds.task("embedding").measured) >= {f"test.{name}" for name in test}
    card = (line[1].bundle / "README.md").read_text(encoding="utf-8")
    assert f"on {test['pairs']} pairs of the test split" in card
    assert "Before a query stands `the `." in card
    assert f"{test['spearman']:.4f}" in card


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_vector_has_the_same_bits_alone_and_in_a_batch(line: Line, precision: str) -> None:
    bundle = load(line[1].bundle)
    path = bundle.path / ("model.onnx" if precision == "fp32" else "model.int8.onnx")
    graph, prepare = ForwardGraph(path, bundle.typed, 1), Preparation(bundle)
    items = golden.load(bundle.path, bundle.typed)
    ready = [prepare(item.inputs) for item in items]
    graph.settle(ready)
    assert graph.largest > 1
    alone = [graph.run([item])[0][0] for item in ready]
    together = [row[0] for row in graph.run([*ready[1:], ready[0]])]
    assert [each.tobytes() for each in (together[-1], *together[:-1])] == [each.tobytes() for each in alone]
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, atol=1e-5)
    for item, vector in zip(items, alone, strict=True):
        assert golden.compare(bundle.typed, item, {"vector": vector}, precision) is None
        assert "of its length" in str(golden.compare(bundle.typed, item, {"vector": -vector}, precision))


def test_importing_twice_gives_equal_bytes(line: Line, tmp_path: Path) -> None:
    paths = prepared(tmp_path, line[0])
    import_weights(line[0], paths)
    for name in ("model.safetensors", "config.json", "tokenizer.json", "training.json"):
        assert sha256(paths.checkpoint / name) == sha256(line[1].checkpoint / name)


CONTRADICTIONS = {
    "no weights": ({"pretrained": {}}, "pretrained.source: embeddings begin with"),
    "a tokenizer of one's own": ({"data": {"kind": "pairs", "tokenizer": {"kind": "bpe"}}}, "it must be pretrained"),
    "another network": ({"model": {"kind": "text-cnn"}}, "by an encoder, not by text-cnn"),
    "few of a label": ({"split": {"method": "given", "per_class": {"train": 1}}}, "pairs have no labels"),
    "groups": ({"split": {"group": "first"}}, "split.group: has no effect"),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_recipes_that_contradict_themselves(case: str) -> None:
    changes, message = CONTRADICTIONS[case]
    assert any(message in each for each in problems(recipe(**changes)))
    assert not list(problems(recipe()))


@pytest.mark.parametrize(
    ("changes", "columns", "message"),
    [
        ({"data": {"kind": "pairs", "first": "firs"}}, {}, r"pairs.jsonl:1: no column 'firs'.*did you mean first"),
        ({}, {"score": "much"}, r"pairs.jsonl:1: the score"),
        ({"split": {"valid": 0.0, "test": 0.999}}, {}, "no pair|none of"),
    ],
)
def test_data_that_cannot_be_used(tmp_path: Path, changes: Any, columns: Any, message: str) -> None:
    with pytest.raises(MetrolineError, match=message):
        prepared(tmp_path, recipe(**changes), **columns)


def test_a_text_longer_than_the_network_is_refused(tmp_path: Path) -> None:
    made = recipe(data={"kind": "pairs", "length": 23})  # and [CLS] and [SEP]: 25, and the network has 24 places
    paths = prepared(tmp_path, made)
    with pytest.raises(MetrolineError, match=r"texts of 25 tokens, and model\.context is 24"):
        import_weights(made, paths)


def test_rank_correlation_is_that_of_scipy() -> None:
    scipy = pytest.importorskip("scipy.stats")
    draw = np.random.default_rng(0)
    one, other = draw.integers(0, 6, 200), draw.normal(size=200)
    assert spearman(one, other) == pytest.approx(scipy.spearmanr(one, other).statistic, abs=1e-12)
    assert math.isnan(spearman(np.ones(4), np.arange(4)))
