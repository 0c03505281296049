"""Rows become messages, or say in one word why not."""

import json

import pytest
from pydantic import ValidationError

from data.text.messages import BadRow, ChatConfig, of_row

COLUMNS = ChatConfig(user="{instruction}\n{input}", assistant="{output}")
PAIRS = ChatConfig(prompt="prompt", completion="completion")
LIST = ChatConfig()


def said(*roles: str, **more: object) -> dict[str, object]:
    return {"messages": [{"role": role, "content": f"{role} {n}", **more} for n, role in enumerate(roles)]}


@pytest.mark.parametrize(("config", "row", "wanted"), [
    (COLUMNS, {"instruction": "Add.", "input": "1 + 1", "output": "2"}, [("user", "Add.\n1 + 1"), ("assistant", "2")]),
    (COLUMNS, {"instruction": "Add.", "input": "", "output": " 2\n"}, [("user", "Add."), ("assistant", "2")]),
    (COLUMNS, {"instruction": "Add.", "input": None, "output": 2}, [("user", "Add."), ("assistant", "2")]),
    (ChatConfig(system="{s}", user="{q}", assistant="{{{a}}}"), {"s": "", "q": "a", "a": "b"},
     [("user", "a"), ("assistant", "{b}")]),
    (ChatConfig(system="In {s}.", user="{the q}", assistant="{a}"), {"s": "x", "the q": "a", "a": "b"},
     [("system", "In x."), ("user", "a"), ("assistant", "b")]),
    (PAIRS, {"prompt": "a", "completion": "b"}, [("user", "a"), ("assistant", "b")]),
    (PAIRS, {"prompt": [{"role": "developer", "content": "s"}, {"role": "user", "content": "a"}], "completion": "b"},
     [("system", "s"), ("user", "a"), ("assistant", "b")]),
    (ChatConfig(messages="turns"), {"turns": [{"role": "user", "content": [{"type": "text", "text": "a"}]},
                                              {"role": "assistant", "content": "b", "name": "x"}]},
     [("user", "a"), ("assistant", "b")]),
    (ChatConfig(strip=False), {"messages": [{"role": "user", "content": " a"}, {"role": "assistant", "content": "b "}]},
     [("user", " a"), ("assistant", "b ")]),
])  # fmt: skip
def test_the_forms_of_rows(config, row, wanted):
    assert [(message["role"], message["content"]) for message in of_row(row, config)] == wanted


BAD = [
    ("wrong_order", said("user", "user", "assistant"), "message 2 is of role user, where assistant"),
    ("wrong_order", said("assistant", "user", "assistant"), "message 1 is of role assistant, where user"),
    ("wrong_order", said("user", "assistant", "system"), "message 3 is of role system"),
    ("wrong_order", said("system", "assistant"), "message 2 is of role assistant"),
    ("no_answer", said("user"), "ends before an answer"),
    ("no_answer", said("user", "assistant", "user"), "ends before an answer"),
    ("no_answer", said("system"), "ends before an answer"),
    ("no_answer", {"messages": []}, "ends before an answer"),
    ("unknown_role", said("human", "assistant"), "role 'human', not system, developer, user, assistant, tool"),
    ("unknown_role", said("user", "king", "assistant"), "role 'king'"),
    ("unknown_role", {"messages": ["hello"]}, "message 1 has no role"),
    ("unknown_role", {"messages": [{"role": 1, "content": "a"}]}, "role 1"),
    ("empty_answer", {"messages": [*said("user")["messages"], {"role": "assistant", "content": " \n"}]}, "empty"),
    ("empty_answer", {"messages": [*said("user")["messages"], {"role": "assistant", "content": None}]}, "empty"),
    ("empty_message", {"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": "a"}]}, "empty"),
    ("not_text", {"messages": [{"role": "user", "content": 1}]}, "not text but int"),
    ("not_text", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "not text but list"),
    ("not_text", {"messages": "hello"}, "no list of messages but str"),
    ("not_text", json.loads(r'{"messages": [{"role": "user", "content": "\ud800"}]}'), "half a surrogate pair"),
    ("bad_call", said("user", "assistant", tool_calls=[{"id": "1"}]), "calls tools"),
    ("bad_weight", said("user", "assistant", weight=0.5), "neither 0 nor 1"),
    ("no_field", {"text": "a", "label": 1}, "no field 'messages', only text, label"),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "row", "detail"), BAD)
def test_a_row_that_is_no_chat_says_why(reason, row, detail):
    with pytest.raises(BadRow, match=detail) as caught:
        of_row(row, LIST)
    assert caught.value.reason == reason


@pytest.mark.parametrize(("config", "row", "reason"), [
    (COLUMNS, {"instruction": "a"}, "no_field"),
    (COLUMNS, {"output": "b"}, "no_field"),
    (COLUMNS, {"instruction": "a", "input": ["b"], "output": "b"}, "not_text"),
    (COLUMNS, {"instruction": "a", "input": "b", "output": None}, "empty_answer"),
    (COLUMNS, {"instruction": " ", "input": "", "output": "b"}, "empty_message"),
    (PAIRS, {"prompt": "a"}, "no_field"),
    (PAIRS, {"prompt": "a", "completion": ""}, "empty_answer"),
    (PAIRS, {"prompt": 1, "completion": "b"}, "not_text"),
])  # fmt: skip
def test_bad_rows_of_the_other_forms(config, row, reason):
    with pytest.raises(BadRow) as caught:
        of_row(row, config)
    assert caught.value.reason == reason


def test_the_weight_of_an_answer_is_kept():
    assert [message.get("weight") for message in of_row(said("user", "assistant", weight=0), LIST)] == [None, 0]


@pytest.mark.parametrize(("values", "message"), [
    ({"messages": "m", "prompt": "p", "completion": "c"}, "are different forms"),
    ({"prompt": "p"}, "prompt and completion go together"),
    ({"user": "{a}"}, "user and assistant go together"),
    ({"system": "a"}, "system is a template beside"),
    ({"user": "{a", "assistant": "b"}, "no template"),
    ({"user": "{a.b}", "assistant": "b"}, "no field's name"),
    ({"user": "{a!r}", "assistant": "b"}, "no field's name"),
    ({"user": "{}", "assistant": "b"}, "no field's name"),
])  # fmt: skip
def test_forms_that_contradict_themselves(values, message):
    with pytest.raises(ValidationError, match=message):
        ChatConfig(**values)


def test_a_field_that_a_row_has_not_is_nothing():
    without, empty = ({"instruction": "a", "output": "b"}, {"instruction": "a", "input": None, "output": "b"})
    assert of_row(without, COLUMNS) == of_row(empty, COLUMNS)
