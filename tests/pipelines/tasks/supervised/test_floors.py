"""Floors and references against scikit-learn used by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

from pipelines.tasks.supervised import floors, metrics
from pipelines.tasks.supervised.examples import Examples
from tests.pipelines.tasks.supervised.test_prepare import prepare, recipe

WORDS = {"sad": ["grey", "rain", "loss", "cold"], "glad": ["sun", "gain", "warm", "song"], "calm": ["sea", "sleep"]}
TEXT = {"data": {"kind": "text", "tokenizer": {"vocabulary": 300}}, "model": {"kind": "text-lstm"}}


def texts(count: int, seed: int, labels: list[str]) -> list[dict[str, Any]]:
    generator = np.random.default_rng(seed)
    every = [word for words in WORDS.values() for word in words]
    found = []
    for i in range(count):
        label = labels[int(generator.integers(len(labels)))]
        said = [*generator.choice(WORDS[label], 2), *generator.choice(every, 3), str(seed * count + i)]
        found.append({"text": " ".join(said), "label": label})
    return found


def split(labels: list[str]) -> dict[str, list[dict[str, Any]]]:
    counts = {"train": 90, "valid": 9, "test": 60}
    return {name: texts(count, seed, labels) for seed, (name, count) in enumerate(counts.items())}


@pytest.mark.parametrize("labels", [["sad", "glad"], ["sad", "glad", "calm"]])
def test_a_linear_svm_over_words_decides_as_scikit_learn_does(tmp_path: Path, labels: list[str]) -> None:
    splits = split(labels)
    prepared = prepare(tmp_path, recipe(**TEXT), **splits)
    train, test = Examples(prepared, "train"), Examples(prepared, "test")
    found = floors.references(train, test, 1000, "accuracy")
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    order = np.random.Generator(np.random.Philox(key=1)).permutation(90)
    rows = words.fit_transform([splits["train"][i]["text"] for i in order])
    machine = LinearSVC(random_state=0).fit(rows, [splits["train"][i]["label"] for i in order])
    answers = machine.predict(words.transform([row["text"] for row in splits["test"]]))
    right = np.mean([row["label"] == answer for row, answer in zip(splits["test"], answers, strict=True)])
    assert metrics.classification(found["tfidf_svm"], test.targets)["accuracy"] == pytest.approx(right)
    assert 0.5 < right < 1
    assert set(found) == {"tfidf_linear", "tfidf_svm"} <= set(metrics.REFERENCES)


def test_margins_are_no_probabilities(tmp_path: Path) -> None:
    splits = split(["sad", "glad"])
    prepared = prepare(tmp_path, recipe(**TEXT), **splits)
    train, test = Examples(prepared, "train"), Examples(prepared, "test")
    assert floors.references(train, test, 1000, "log_loss").keys() == {"tfidf_linear"}
    found = floors.references(train, test, 1000, "auc")
    assert metrics.classification(found["tfidf_svm"], test.targets)["auc"] > 0.7


def test_scores_of_margins_keep_their_order() -> None:
    two = floors.softmax(np.array([-1000.0, -0.5, 0.0, 2.0]))
    assert two.argmax(1).tolist() == [0, 0, 0, 1]
    assert two.sum(1) == pytest.approx([1, 1, 1, 1])
    three = floors.softmax(np.array([[3.0, -1.0, 2.0], [-5.0, -4.0, -9.0]]))
    assert three.argsort(1).tolist() == [[1, 2, 0], [2, 0, 1]]
