"""Rows become pairs of chats; those from which no preference can be learnt are counted by their reason."""

import json

import pytest
from pydantic import ValidationError

from base.errors import MetrolineError
from base.files import read_json
from data.split import SplitConfig
from data.text.instructions import prepare
from data.text.messages import BadRow
from data.text.preferences import PairConfig, PreferencesConfig
from data.text.shards import Shards
from tests import chats

ASKED = {"role": "user", "content": "Hi"}
GOOD, BAD = {"role": "assistant", "content": "Hello."}, {"role": "assistant", "content": "What?"}
TEXTS = {"prompt": "Hi", "chosen": "Hello.", "rejected": "What?"}


@pytest.mark.parametrize(("chat", "row"), [
    ({"prompt": "prompt"}, TEXTS),
    ({"prompt": "prompt"}, {"prompt": [ASKED], "chosen": [GOOD], "rejected": [BAD]}),
    ({"prompt": "q", "chosen": "yes", "rejected": "no"}, {"q": "Hi", "yes": "Hello.", "no": " What?\n"}),
    ({"user": "{prompt}{more}"}, {**TEXTS, "more": None}),
    ({}, {"chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]}),
])  # fmt: skip
def test_forms_of_rows(chat, row):
    assert PreferencesConfig(chat=chat).chats_of(row) == [[ASKED, GOOD], [ASKED, BAD]]


PROMPT = {"prompt": "prompt"}
REFUSED = [
    (PROMPT, {"chosen": "a", "rejected": "b"}, "no_field"),
    (PROMPT, {"prompt": "Hi", "chosen": "a"}, "no_field"),
    ({"user": "{prompt}"}, {"chosen": "a", "rejected": "b"}, "no_field"),
    ({"user": "{prompt}"}, {"prompt": "Hi", "chosen": "a"}, "no_field"),
    (PROMPT, {**TEXTS, "prompt": " "}, "empty_message"),
    (PROMPT, {**TEXTS, "rejected": None}, "empty_answer"),
    (PROMPT, {**TEXTS, "chosen": 7}, "not_text"),
    (PROMPT, {**TEXTS, "rejected": "Hello.\n"}, "same_answers"),
    (PROMPT, {**TEXTS, "chosen": "caf\u00e9", "rejected": "cafe\u0301"}, "same_answers"),
    ({}, {"chosen": [ASKED, GOOD], "rejected": [{**ASKED, "content": "Bye"}, BAD]}, "different_prompts"),
    ({}, {"chosen": [ASKED, GOOD], "rejected": [ASKED, GOOD, ASKED, BAD]}, "different_prompts"),
    ({}, {"chosen": [ASKED, GOOD], "rejected": [ASKED]}, "no_answer"),
    ({}, {"chosen": [GOOD], "rejected": [BAD]}, "wrong_order"),
    ({}, {"chosen": [ASKED, GOOD], "rejected": [ASKED, {**BAD, "role": "bot"}]}, "unknown_role"),
]


@pytest.mark.parametrize(("chat", "row", "reason"), REFUSED)
def test_rows_that_say_no_preference(chat, row, reason):
    with pytest.raises(BadRow) as found:
        PreferencesConfig(chat=chat).chats_of(row)
    assert found.value.reason == reason


@pytest.mark.parametrize(("chat", "message"), [
    ({"prompt": "a", "user": "{b}"}, "prompt and user are different forms"),
    ({"chosen": "a", "rejected": "a"}, "chosen and rejected are the same field"),
    ({"system": "Be kind."}, "user and assistant go together"),
    ({"user": "{a"}, "no template"),
    ({"user": "{q}", "chosen": "is-good"}, "is no field's name alone"),
])  # fmt: skip
def test_configurations_that_say_nothing(chat, message):
    with pytest.raises(ValidationError, match=message):
        PairConfig(**chat)


def test_pairs_become_neighbours_and_bad_rows_are_counted(tmp_path):
    pretrained = chats.model(tmp_path / "pretrained")
    good = [{"prompt": f"Say {n}.", "chosen": f"{n}", "rejected": f"no {n}"} for n in range(30)]
    bad = [
        {"prompt": "Same?", "chosen": "a", "rejected": "a"}, {"chosen": "a", "rejected": "b"}, 7,
        {"prompt": "Long?", "chosen": "a", "rejected": "b" * 200}, {**TEXTS, "prompt": "p" * 200},
        {"prompt": "Say 3.", "chosen": "x", "rejected": "y"},
    ]  # fmt: skip
    raw = chats.fetched(tmp_path / "raw", chats.write_rows(tmp_path / "raw/files/rows.jsonl", [*good, *bad]))
    config = PreferencesConfig(chat=PairConfig(**PROMPT), length=100, duplicates={"near": False})
    prepare(raw, tmp_path / "out", config, SplitConfig(valid=0.1, test=0.2), pretrained)
    stats = read_json(tmp_path / "out/stats.json")
    assert stats["documents"]["dropped"] == {
        "too_long": 2, "exact_duplicate": 1, "no_field": 1, "same_answers": 1, "unreadable": 1}  # fmt: skip
    dropped = [json.loads(line) for line in (tmp_path / "out/dropped.jsonl").read_text().splitlines()]
    assert {line["id"].rpartition(":")[2] for line in dropped} == {"31", "32", "33", "34", "35", "36"}
    pairs = 0
    for split in ("train", "valid", "test"):
        shards = Shards(tmp_path / "out", split)
        named = list(shards.documents())
        for number in range(0, len(shards), 2):
            assert named[number]["id"] == named[number + 1]["id"]
            pairs += 1
    assert pairs == 30


def test_a_bad_row_may_stop(tmp_path):
    pretrained = chats.model(tmp_path / "pretrained")
    rows = [{"prompt": "Same?", "chosen": "a", "rejected": "a"}]
    raw = chats.fetched(tmp_path / "raw", chats.write_rows(tmp_path / "raw/files/rows.jsonl", rows))
    config = PreferencesConfig(chat=PairConfig(**PROMPT), errors="stop")
    with pytest.raises(MetrolineError, match=r"rows\.jsonl:1: same_answers: the chosen answer is the rejected one"):
        prepare(raw, tmp_path / "out", config, SplitConfig(), pretrained)
