"""Rows that are not worth learning are left out for a reason that is named, and no others are."""

import json

import numpy as np
import pytest
from pydantic import ValidationError

from base.files import read_json
from data.split import SplitConfig
from data.text.chat_rows import InstructionsConfig
from data.text.filters import FilterConfig, refuses
from data.text.instructions import prepare
from data.text.languages import language
from data.text.shards import Shards
from pipelines.tasks.instruction.perplexity import scorer
from tests import chats
from tests.data.text.test_instructions import made

TEXTS = [
    ("The train leaves when the bell has rung, and that is all.", "en"),
    ("Wie spät ist es in der Stadt, und wo ist der Bahnhof?", "de"),
    ("Le chat est sur la table et il ne veut pas descendre avec nous.", "fr"),
    ("¿Dónde está el libro que los niños han leído por la mañana?", "es"),
    ("Il treno per Roma non è ancora arrivato, ma questo è normale.", "it"),
    ("De trein naar Utrecht is niet op tijd, maar dat geeft niet.", "nl"),
    ("O comboio para Lisboa não é muito rápido, mas também já está aqui.", "pt"),
    ("Москва — столица России", "cyrillic"),
    ("東京は日本の首都です", "cjk"),
    ("12 + 30 = 42", None),
    ("Berlin", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "name"), TEXTS)
def test_a_text_is_in_one_language_or_cannot_be_told(text, name):
    assert language(text) == name


REFUSALS = [
    ("I'm sorry, but I can't help with that.", True),
    ("I’m sorry, but I cannot provide medical advice.", True),
    ("As an AI language model, I do not have feelings.", True),
    ("Unfortunately, I am unable to access the internet.", True),
    ("I cannot fulfill this request.", True),
    ("I am a large language model and have no body.", True),
    ("I'm sorry for your loss.", False),
    ("I can't swim.", False),
    ("The contraction of 'I cannot help it' is 'I can't help it'.", False),
    ("Sorry, the shop is closed.", False),
    ("AI stands for artificial intelligence.", False),
    ("", False),
]


@pytest.mark.parametrize(("answer", "refused"), REFUSALS)
def test_refusals_and_what_only_resembles_them(answer, refused):
    assert refuses(answer) == refused


def row(answer: str, question: str = "Say it.") -> dict[str, str]:
    return {"instruction": question, "input": "", "output": answer}


DROPPED = [
    ({"min_answer": 4}, row("no"), "short_answer"),
    ({"max_answer": 20}, row("a long answer that goes on and on"), "long_answer"),
    ({"refusals": "drop"}, row("As an AI, I have no colour."), "refusal"),
    ({"languages": ("en",)}, row("der Hut ist nicht rot und die Tür ist es auch nicht"), "other_language"),
]


@pytest.mark.parametrize(("values", "unwanted", "reason"), DROPPED)
def test_a_row_is_left_out_for_its_reason_and_stays_without_the_filter(values, unwanted, reason, tmp_path):
    model = chats.model(tmp_path / "model")
    rows = [unwanted, *chats.rows()]
    out = made(tmp_path / "with", rows, model, filter=FilterConfig(**values), errors="stop")
    assert read_json(out / "stats.json")["documents"]["dropped"] == {reason: 1}
    (line,) = map(json.loads, (out / "dropped.jsonl").read_text().splitlines())
    assert (line["id"], line["reason"]) == ("rows.jsonl:1", reason)
    assert line["detail"]
    assert read_json(made(tmp_path / "without", rows, model) / "stats.json")["documents"]["dropped"] == {}


def test_a_row_that_is_left_out_hides_no_other(tmp_path):
    """The same question with a proper answer stays, though it comes second."""
    rows = [row("no", "Who?"), row("everyone", "Who?"), *chats.rows()]
    out = made(tmp_path, rows, chats.model(tmp_path / "model"), filter=FilterConfig(min_answer=3))
    assert read_json(out / "stats.json")["documents"]["dropped"] == {"short_answer": 1}
    kept = {entry["id"] for split in ("train", "valid", "test") for entry in Shards(out, split).documents()}
    assert "rows.jsonl:2" in kept


def test_answers_that_are_strange_to_the_first_weights_leave_train_alone(tmp_path):
    """The bound cuts between the scores; valid and test stay as they are."""
    model = chats.model(tmp_path / "model")
    score, seen = scorer(model), []

    def noted(encoded):
        seen.append(max(score(encoded)))
        return [seen[-1]]

    raw = chats.fetched(tmp_path / "raw", chats.write_rows(tmp_path / "raw/files/rows.jsonl", chats.rows()))
    values = {"chat": {"user": "{instruction}", "assistant": "{output}"}, "duplicates": {"near": False}}
    split = SplitConfig(valid=0.1, test=0.2)
    open_ = InstructionsConfig(**values, filter={"max_perplexity": 1e30})
    whole = prepare(raw, tmp_path / "whole", open_, split, model, score=noted)
    bound = float(np.exp(np.median(seen)))
    config = InstructionsConfig(**values, filter={"max_perplexity": bound})
    stats = prepare(raw, tmp_path / "out", config, split, model, score=score)
    dropped = stats["documents"]["dropped"]["perplexity"]
    assert dropped == sum(np.exp(nats) > bound for nats in seen) > 10
    for name, left in (("train", dropped), ("valid", 0), ("test", 0)):
        assert len(Shards(tmp_path / "whole", name)) - len(Shards(tmp_path / "out", name)) == left
    assert whole["documents"]["dropped"] == {}


@pytest.mark.parametrize(("values", "message"), [
    ({"languages": ("english",)}, "no language 'english' is told apart"),
    ({"min_answer": 9, "max_answer": 3}, r"max_answer \(3\) is below min_answer \(9\)"),
    ({"max_perplexity": 1.0}, "max_perplexity"),
    ({"max_perplexity": float("nan")}, "max_perplexity"),
    ({"min_answer": -1}, "min_answer"),
    ({"max_answer": 0}, "max_answer"),
    ({"refusals": "yes"}, "refusals"),
    ({"toxicity": 1}, "toxicity"),
])  # fmt: skip
def test_filters_that_mean_nothing(values, message):
    with pytest.raises(ValidationError, match=message):
        FilterConfig(**values)
