"""`init --from`: which fields of own rows are chats, and the recipe that teaches them."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from base.errors import MetrolineError
from pipelines.recipe.load import RECIPES, listed_bases, listed_recipes
from pipelines.recipe.new import create

ROOT = Path(__file__).parents[4]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / RECIPES).mkdir(parents=True)
    for name in ("smollm2", "names", "adult"):
        (tmp_path / RECIPES / f"{name}.yaml").write_bytes((ROOT / RECIPES / f"{name}.yaml").read_bytes())
    (tmp_path / "params.yaml").write_text("# comment\nbases: {} # begins with\nrecipes:\n- smollm2\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(root: Path, rows: list[Any], name: str = "chats.jsonl") -> Path:
    path = root / name
    path.write_text(json.dumps(rows) if name.endswith(".json") else "".join(json.dumps(row) + "\n" for row in rows))
    return path


def turns(n: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"What is {n}?"}, {"role": "assistant", "content": f"A number, {n}."}]


FORMS = [
    (lambda n: {"messages": turns(n)}, {"messages": "messages"}),
    (lambda n: {"id": n, "conversations": turns(n)}, {"messages": "conversations"}),
    (lambda n: {"prompt": f"a{n}", "completion": "b"}, {"prompt": "prompt", "completion": "completion"}),
    (lambda n: {"question": f"a{n}", "answer": "b"}, {"prompt": "question", "completion": "answer"}),
    (lambda n: {"prompt": turns(n)[:1], "completion": turns(n)[1:]}, {"prompt": "prompt", "completion": "completion"}),
    (lambda n: {"instruction": f"a{n}", "output": "b"}, {"prompt": "instruction", "completion": "output"}),
    (lambda n: {"instruction": f"a{n}", "input": "", "output": "b"},
     {"user": "{instruction}\n{input}", "assistant": "{output}"}),
    (lambda n: {"system": "s", "instruction": f"a{n}", "response": "b"},
     {"system": "{system}", "user": "{instruction}", "assistant": "{response}"}),
]  # fmt: skip


@pytest.mark.parametrize(("row", "chat"), FORMS)
@pytest.mark.parametrize("name", ["chats.jsonl", "chats.json"])
def test_the_fields_of_chats_are_found(row, chat, name, root):
    path, found = create("mine", written(root, [row(n) for n in range(60)], name), root, base="smollm2")
    recipe = yaml.safe_load(path.read_text())
    assert recipe["data"]["chat"] == chat
    assert recipe["pretrained"] == {"source": {"kind": "recipe", "name": "smollm2"}}
    assert found.said.startswith("60 chats (")
    assert (listed_recipes(), listed_bases()) == (["smollm2", "mine"], {"mine": "smollm2"})
    assert "# comment" in (root / "params.yaml").read_text()


PAIRS = [
    (lambda n: {"prompt": f"a{n}", "chosen": "b", "rejected": "c"}, {"prompt": "prompt"}),
    (lambda n: {"question": f"a{n}", "better": "b", "worse": "c"},
     {"prompt": "question", "chosen": "better", "rejected": "worse"}),
    (lambda n: {"instruction": f"a{n}", "input": "", "output": "b", "rejected": "c", "chosen": "b"},
     {"user": "{instruction}\n{input}"}),
    (lambda n: {"prompt": "x", "chosen": turns(n), "rejected": [turns(n)[0], {"role": "assistant", "content": "?"}]},
     {}),
    (lambda n: {"prompt": turns(n)[:1], "chosen": turns(n)[1:], "rejected": "No."}, {"prompt": "prompt"}),
]  # fmt: skip


@pytest.mark.parametrize(("row", "chat"), PAIRS)
def test_two_answers_are_a_preference(row, chat, root):
    same = dict.fromkeys(row(0), "c")
    data = written(root, [*(row(n) for n in range(60)), same])
    path, found = create("mine", data, root, base="smollm2")
    recipe = yaml.safe_load(path.read_text())
    assert recipe["data"]["chat"] == chat
    assert recipe["task"]["kind"] == "preference"
    assert found.said.startswith("60 pairs of answers (")
    assert "left out: " in found.said
    assert (recipe["train"]["batch"], recipe["train"]["steps"]) == (16, 8)


def test_rows_that_cannot_be_learnt_from_are_told(root):
    rows = [{"messages": turns(n)} for n in range(50)] + [{"messages": turns(1)[:1]}, {"text": "a"}, 1]
    _, found = create("mine", written(root, rows), root, base="smollm2")
    assert "50 chats" in found.said
    assert "no_answer 1" in found.said
    assert "no_field 1" in found.said
    assert "unreadable 1" in found.said


@pytest.mark.parametrize("backwards", [False, True])
def test_fields_that_some_rows_have_not_are_found(root, backwards):
    rows = [{"instruction": f"a{n}", "output": "b"} for n in range(2)]
    rows += [{"instruction": f"a{n}", "input": f"c{n}", "output": "b"} for n in range(50)]
    _, found = create("mine", written(root, rows[::-1] if backwards else rows), root, base="smollm2")
    assert found.said.startswith("52 chats (")
    assert "input" in found.said
    assert "left out" not in found.said


def test_two_recipes_may_begin_with_one(root):
    data = written(root, [{"messages": turns(n)} for n in range(60)])
    for name in ("one", "two"):
        create(name, data, root, base="smollm2")
    assert listed_bases() == {"one": "smollm2", "two": "smollm2"}


@pytest.mark.parametrize(("rows", "asked", "message"), [
    ([{"body": "x", "label": 1}] * 9, {}, r"no field of chats among body, label \(such as messages"),
    ([], {}, "of which there are none"),
    ([{"messages": turns(1)[:1]}] * 9, {}, "0 chats that can be learnt from; left out: no_answer 9"),
    ([{"messages": turns(1)}] * 9, {"base": "smollm"}, r"no recipe 'smollm' .*did you mean smollm2"),
    ([{"messages": turns(1)}] * 9, {"base": "adult"}, "is no model that chats"),
    ([{"messages": turns(1)}] * 9, {"target": "label"}, "have no --target"),
])  # fmt: skip
def test_what_cannot_be_taught_is_one_line_and_nothing_is_written(rows, asked, message, root):
    before = (root / "params.yaml").read_text()
    with pytest.raises(MetrolineError, match=message) as caught:
        create("mine", written(root, rows), root, **{"base": "smollm2", **asked})
    assert "\n" not in str(caught.value)
    assert (root / "params.yaml").read_text() == before
    assert not (root / RECIPES / "mine.yaml").exists()


def test_a_params_file_of_another_form_is_left_alone(root):
    (root / "params.yaml").write_text("bases: [a]\nrecipes:\n- smollm2\n")
    with pytest.raises(MetrolineError, match="is no mapping"):
        create("mine", written(root, [{"messages": turns(n)} for n in range(60)]), root, base="smollm2")
    assert not (root / RECIPES / "mine.yaml").exists()


def test_rows_with_tools_take_a_template_that_shows_them(root):
    tool = {"type": "function", "function": {"name": "f"}}
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    rows: list[Any] = [{"messages": turns(n), "tools": [tool]} for n in range(20)]
    rows += [{"messages": [*turns(n)[:1], {"role": "assistant", "tool_calls": [call]}]} for n in range(20, 25)]
    path, found = create("mine", written(root, rows), root, base="smollm2")
    assert yaml.safe_load(path.read_text())["data"]["template"] == "hermes"
    assert "20 chats (lists of messages in messages; 20 with tools); left out: bad_call 5" in found.said
    path, _ = create("plain", written(root, [{"messages": turns(n)} for n in range(20)]), root, base="smollm2")
    assert yaml.safe_load(path.read_text())["data"]["template"] == "pretrained"
