"""Chats with calls of tools: what training sees of them is what the endpoint makes, and reads back."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import data
from base.errors import MetrolineError
from base.files import read_json
from data.split import SplitConfig
from data.text.chat_rows import InstructionsConfig
from data.text.chat_tokens import load_chats
from data.text.instructions import prepare
from data.text.messages import BadRow, ChatConfig, of_row, tools_of_row
from data.text.shards import Shards
from data.text.traces import tools_of
from serving.engines.decode.call_reader import Arguments, Begun, CallReader
from serving.engines.decode.call_styles import STYLES
from serving.engines.decode.text import Vocabulary
from serving.routes.chat_schema import ChatRequest
from serving.routes.prompts import chat_tokens
from serving.routes.schema import parse
from tests import chats

EXAMPLE = Path(data.__path__[0]) / "examples/tools"
SPLIT = SplitConfig(method="given", by="split")
CONFIG = {"template": "hermes", "duplicates": {"near": False}, "length": 4096}


@pytest.fixture(scope="module")
def traces():
    """A part of those of the recipe `tools`: some of each split."""
    rows = runpy.run_path(str(EXAMPLE / "make_traces.py"))["rows"]()
    return rows[::15]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    return chats.model(tmp_path_factory.mktemp("model") / "pretrained")


def made(folder: Path, rows: list[object], pretrained: Path, **values: object) -> Path:
    raw = chats.fetched(folder / "raw", chats.write_rows(folder / "raw/files/rows.jsonl", rows))
    prepare(raw, folder / "out", InstructionsConfig(**CONFIG | values), SPLIT, pretrained)
    return folder / "out"


def test_the_example_is_what_its_script_makes():
    script = runpy.run_path(str(EXAMPLE / "make_traces.py"))
    assert script["packed"]() == (EXAMPLE / "traces.jsonl.gz").read_bytes()


def test_no_tool_value_or_question_of_the_test_rows_is_learnt():
    rows = runpy.run_path(str(EXAMPLE / "make_traces.py"))["rows"]()
    called = {split: set() for split in ("train", "valid", "test")}
    values = {split: set() for split in called}
    for row in rows:
        for message in row["messages"]:
            for call in message.get("tool_calls", ()):
                called[row["split"]].add(call["function"]["name"])
                values[row["split"]] |= {str(each) for each in json.loads(call["function"]["arguments"]).values()}
    assert len(called["test"] - called["train"]) == 6
    assert not {each for each in values["test"] & values["train"] if not each.isdigit()}
    questions = [row["messages"][0]["content"] for row in rows]
    assert len(set(questions)) == len(questions)


def calls_in(text: str) -> list[list[str]]:
    """What the endpoint makes of an answer."""
    reader, calls = CallReader(STYLES[1]), []
    for part in reader.push(text):
        if isinstance(part, Begun):
            calls.append([part.name, ""])
        elif isinstance(part, Arguments):
            calls[-1][1] += part.text
    return calls


def test_training_sees_what_the_endpoint_makes_and_reads(traces, pretrained, tmp_path):
    out = made(tmp_path, traces, pretrained)
    splits = read_json(out / "stats.json")["splits"]
    assert sum(split["documents"] for split in splits.values()) == len(traces)  # none was left out
    vocabulary, (written, ends) = Vocabulary(out / "tokenizer.json", 259), load_chats(out, InstructionsConfig().clean)
    bundle = SimpleNamespace(name="m", context=9999, max_tokens=64, vocab_size=259, form=InstructionsConfig().clean)
    served = SimpleNamespace(bundle=bundle, vocabulary=vocabulary, chats=written)
    answers = results = 0
    for split in ("train", "valid", "test"):
        shards = Shards(out, split)
        for number, document in enumerate(shards.documents()):
            row = traces[int(document["id"].rpartition(":")[2]) - 1]
            tokens = shards.document(number)
            mask = shards.mask_at(int(shards.offsets[number]), len(tokens)).astype(int)
            begins = np.flatnonzero(np.diff(mask) == 1) + 1
            stops = np.append(np.flatnonzero(np.diff(mask) == -1), len(mask) - 1)
            said = [place for place, message in enumerate(row["messages"]) if message["role"] == "assistant"]
            assert len(begins) == len(said)
            results += sum(message["role"] == "tool" for message in row["messages"])
            for place, begin, stop in zip(said, begins, stops, strict=True):
                body = {"model": "m", "messages": row["messages"][:place], "tools": row["tools"]}
                request = parse(json.dumps(body).encode(), ChatRequest)
                shown = [tool.shown() for tool in request.tools]
                assert tuple(tokens[:begin]) == chat_tokens(served, [m.plain() for m in request.messages], shown)
                assert tokens[stop] in ends
                text = b"".join(vocabulary.bytes[token] for token in tokens[begin:stop]).decode()
                calls = [[call["function"]["name"], call["function"]["arguments"]]
                         for call in row["messages"][place].get("tool_calls", ())]  # fmt: skip
                assert calls_in(text) == calls
                assert calls or text == row["messages"][place]["content"]
                answers += 1
    assert answers > len(traces)
    assert results > 5


def test_a_template_without_a_place_for_tools(traces, tmp_path):
    plain = chats.model(tmp_path / "plain", template=chats.TEMPLATE.replace("{% if tools %}", "{% if false %}")
                        .replace("tools | tojson", "''").replace("tools", "t"))  # fmt: skip
    with pytest.raises(MetrolineError, match="has no place for them") as caught:
        made(tmp_path / "a", traces, plain, template="pretrained")
    assert caught.value.hint == "data.template: hermes"


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
WITH_NULLS = {**TOOL, "strict": None, "function": {**TOOL["function"], "description": None}}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
USER, RESULT = {"role": "user", "content": "a"}, {"role": "tool", "content": "1"}
LAST = {"role": "assistant", "content": "b"}


def calling(*calls: object) -> dict[str, object]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls)}


GOOD = [
    [USER, calling(CALL)],
    [USER, calling(CALL), RESULT, LAST],
    [USER, calling(CALL, CALL), RESULT, RESULT, LAST, USER, calling(CALL)],
    [USER, calling(CALL), {"role": "tool", "content": ""}, calling(CALL), RESULT, LAST],
]


@pytest.mark.parametrize("messages", GOOD)
@pytest.mark.parametrize("tools", [[TOOL], [TOOL["function"]], json.dumps([TOOL]), [WITH_NULLS]])
def test_rows_with_calls(messages, tools):
    row = {"messages": messages, "tools": tools}
    found = of_row(row, ChatConfig())
    assert tools_of_row(row, [found], "tools") == [TOOL]
    assert [len(message.get("tool_calls", ())) for message in found] == [len(m.get("tool_calls", ())) for m in messages]


def changed(**function: object) -> dict[str, object]:
    return {**CALL, "function": {**CALL["function"], **function}}


BAD = [
    ("wrong_order", [USER, calling(CALL), LAST], [TOOL], "message 3 is of role assistant, where tool would follow"),
    ("wrong_order", [USER, calling(CALL), RESULT, RESULT, LAST], [TOOL], "message 4 is of role tool"),
    ("wrong_order", [USER, calling(CALL, CALL), RESULT, LAST], [TOOL], "message 4 is of role assistant"),
    ("wrong_order", [USER, RESULT, LAST], [TOOL], "message 2 is of role tool"),
    ("no_answer", [USER, calling(CALL), RESULT], [TOOL], "ends before an answer"),
    ("bad_call", [{**USER, "tool_calls": [CALL]}, LAST], [TOOL], "message 1 of role user calls tools"),
    ("bad_call", [USER, calling("f")], [TOOL], "a call is"),
    ("bad_call", [USER, {**LAST, "tool_calls": "f"}], [TOOL], "tool_calls are a list, not str"),
    ("bad_call", [USER, calling(changed(arguments="{'a': 1}"))], [TOOL], "the arguments of f: Expecting"),
    ("bad_call", [USER, calling(changed(arguments="[1]"))], [TOOL], "arguments are a JSON object"),
    ("bad_call", [USER, calling(changed(arguments=[1]))], [TOOL], "neither JSON text nor an object"),
    ("bad_call", [USER, calling(changed(name="g"))], [TOOL], "message 2 calls 'g', which is not among"),
    ("bad_call", [USER, calling(CALL)], None, "message 2 calls 'f', which is not among"),
    ("bad_tools", [USER, LAST], {"f": 1}, "tools are a list, not dict"),
    ("bad_tools", [USER, LAST], "[{", "Expecting"),
    ("bad_tools", [USER, LAST], [{"name": "a b"}], "a tool's function.name: Value error, is 1 to 64"),
    ("bad_tools", [USER, LAST], [1], "a tool's definition"),
    ("bad_tools", [USER, LAST], [TOOL, TOOL], "two tools have the name 'f'"),
]


@pytest.mark.parametrize(("reason", "messages", "tools", "detail"), BAD)
def test_bad_rows_with_calls(reason, messages, tools, detail):
    row = {"messages": messages, "tools": tools}
    with pytest.raises(BadRow, match=detail) as caught:
        tools_of_row(row, [of_row(row, ChatConfig())], "tools")
    assert caught.value.reason == reason


def test_what_is_no_tool_at_all():
    assert tools_of(None) == tools_of("") == tools_of([]) == []
