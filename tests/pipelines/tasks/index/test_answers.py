"""The whole is judged: a chat answers from the index through the endpoint, and what it says is held to the answers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from base.errors import MetrolineError
from base.files import read_json
from base.manifest import verify
from data.index.passages import Passages
from pipelines.tasks.index import squad_metrics as squad
from pipelines.tasks.index.answers import SAMPLES, Answer, _share
from pipelines.tasks.index.searched import Searched
from pipelines.tasks.index.trial import bundle
from tests import indexes


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An index with a reranker, judged with a chat that babbles."""
    root = tmp_path_factory.mktemp("judged")
    indexes.embedder(root)
    indexes.reranker(root)
    indexes.chat(root)
    asked = {"chat": "talker", "answers": 3, "tokens": 120}
    task = {"kind": "index", "reranker": "pairs", "threshold": 0.0}
    paths = indexes.write(root, "judged", asked=True, task=task, evaluate=asked)
    indexes.run(root, "judged")
    return paths


def test_what_is_said_is_measured(judged: Any) -> None:
    test = read_json(judged.metrics)["test"]
    assert test["answers"] == 3
    assert test["unanswerable"] >= 1
    assert test["citations_resolved"] == 1
    assert test["citations"] > 0
    assert test["false_answer_share"] == pytest.approx(1 - test["unanswerable_refused_share"])
    for name in ("answer_contains", "citation_precision", "grounded_share", "unanswerable_refused_share", "answer_f1"):
        assert 0 <= test[f"{name}_low"] <= test[name] <= test[f"{name}_high"] <= 1
    rows = [json.loads(line) for line in (judged.evaluation / SAMPLES).read_text().splitlines()]
    assert len(rows) == test["answers"] + test["unanswerable"]
    known = {each["question"]: each.get("answers") for each in indexes.QUESTIONS}
    assert all(known[row["question"]] == row["answers"] for row in rows)
    lost = rows[test["answers"] :]
    assert all(row["document"] not in row["cited"] for row in lost)


def test_an_index_without_some_documents(judged: Any, tmp_path: Path) -> None:
    index = Searched(judged.checkpoint)
    folder = bundle(index, judged.prepared, tmp_path / "less", "less", ["harbour.txt"])
    verify(folder)
    left, all_of_it = Passages(folder), index.passages
    kept = [each for each in map(all_of_it.passage, range(len(all_of_it))) if each.document != "harbour.txt"]
    assert [left.passage(number) for number in range(len(left))] == kept
    assert 0 < len(kept) < len(all_of_it)


def test_questions_without_answers_cannot_be_judged(tmp_path: Path) -> None:
    indexes.embedder(tmp_path)
    indexes.chat(tmp_path)
    indexes.write(tmp_path, evaluate={"chat": "talker", "answers": 2})
    with pytest.raises(MetrolineError, match="no question of the test split has answers"):
        indexes.run(tmp_path, "library", "fetch", "released", "chat", "prepare", "train", "evaluate")


SQUAD: list[tuple[str, list[str], bool, float, float]] = [
    ("The Concordia.", ["Concordia"], True, 1, 1),
    ("It is called Concordia", ["Concordia"], True, 0, 0.4),
    ("It opened in 1887", ["in 1887", "1887"], True, 0, 2 / 3),
    ("It opened in 18871", ["1887"], False, 0, 0),
    ("", ["1887"], False, 0, 0),
    ("forty-five francs", ["forty five francs"], False, 0, 0.4),
]


@pytest.mark.parametrize("case", SQUAD)
def test_squads_measures(case: tuple[str, list[str], bool, float, float]) -> None:
    text, answers, contained, exact, f1 = case
    assert squad.contains(text, answers) == contained
    assert squad.exact(text, answers) == exact
    assert squad.f1(text, answers) == pytest.approx(f1)


def test_statements_and_the_passages_behind_them() -> None:
    sources = [{"number": 1, "text": "one"}, {"number": 2, "text": "two"}]
    answer = Answer('It is "old" [2] It is new. [1]', [{"number": 2}, {"number": 1}], sources)
    assert answer.statements == ["It is old", "It is new."]
    assert answer.cited == ["two", "one"]
    assert not answer.refused
    assert Answer("The sources say nothing about this.", [], []).refused
    assert not Answer("", [], sources).refused


def test_intervals_hold_the_share() -> None:
    assert _share("a", []) == {"a": 0.0, "a_low": 0.0, "a_high": 1.0}
    found = _share("a", [True] * 8 + [False] * 2)
    assert (round(found["a_low"], 3), found["a"], round(found["a_high"], 3)) == (0.49, 0.8, 0.943)  # Wilson, by hand
    draws = np.random.default_rng(0).random((300, 40)) < 0.3
    inside = [_share("a", each.tolist()) for each in draws]
    assert np.mean([each["a_low"] <= 0.3 <= each["a_high"] for each in inside]) > 0.9
