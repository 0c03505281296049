"""Calls of tools at a running server, with OpenAI's client, LangChain's and none."""

import json

import openai
import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from data.text.chat import Chats
from data.text.own_templates import HERMES
from data.text.templates import ChatTemplate
from data.text.tokenizer import Tokenizer
from data.text.tools import Tool
from tests.serving import chat_bundle, clients, tiny_bundle

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "the weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Ulm", "Bonn"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}
ASKED = [{"role": "user", "content": "Weather in Ulm and Bonn?"}]
SAID = """\
Let me see.
<tool_call>
{"name": "weather", "arguments": {"city": "Ulm"}}
</tool_call>
<tool_call>
{"name": "weather", "arguments": {"city": "Bonn", "days": 2}}
</tool_call>"""
CALLS = [{"city": "Ulm"}, {"city": "Bonn", "days": 2}]
RESULTS = ["21 degrees", "19 degrees"]
ANSWER = "Ulm 21, Bonn 19."


def chats() -> Chats:
    """How the bundles below write chats."""
    made = Tokenizer(chat_bundle.tokenizer(), 0)
    return Chats(ChatTemplate(HERMES), made.special, made.encode)


def asks_then_answers(tools: list[dict]) -> list[int]:
    """The token at each position: after the question what is SAID, after the tools' results ANSWER."""
    shown = [Tool.model_validate(each).shown() for each in tools]
    calls = [{"type": "function", "function": {"name": "weather", "arguments": arguments}} for arguments in CALLS]
    history = [
        *ASKED,
        {"role": "assistant", "content": "Let me see.", "tool_calls": calls},
        *({"role": "tool", "content": result} for result in RESULTS),
    ]
    script = [1] * 2000
    for prompt, text in ((chats().prompt(ASKED, shown), SAID), (chats().prompt(history, shown), ANSWER)):
        said = [*tiny_bundle.bytes_of(text, chat_bundle.tokenizer()), 0]
        script[len(prompt) : len(prompt) + len(said)] = said
    return script


@pytest.fixture(scope="module")
def server(tmp_path_factory, serve):
    """Two models: one calls of itself; the other, of random weights, only when it must."""
    folder = tmp_path_factory.mktemp("tools")
    caller = chat_bundle.build(folder / "caller", "caller", context=2000, max_tokens=1500, template=HERMES,
                               script=asks_then_answers([WEATHER, CLOCK]))  # fmt: skip
    anyone = chat_bundle.build(folder / "anyone", "anyone", context=2000, max_tokens=1500, template=HERMES, script=[])
    return serve(caller, anyone, deadline="60")


@pytest.fixture(scope="module")
def official(server):
    return clients.official(server)


def ask(official, *, model="caller", messages=ASKED, tools=(WEATHER, CLOCK), **more):
    return official.chat.completions.create(
        model=model, messages=messages, tools=list(tools), **{"temperature": 0} | more
    )


def streamed(official, **more):
    """The same as one message put together from a stream, its reason, and how many pieces the arguments came in."""
    message = {"content": None, "tool_calls": []}
    reason, pieces = None, 0
    for chunk in ask(official, stream=True, **more):
        (choice,) = chunk.choices
        reason = choice.finish_reason or reason
        if choice.delta.content is not None:
            message["content"] = (message["content"] or "") + choice.delta.content
        for delta in choice.delta.tool_calls or ():
            calls = message["tool_calls"]
            if delta.id is not None:
                assert (delta.index, delta.type) == (len(calls), "function")
                calls.append({"name": delta.function.name, "arguments": ""})
            calls[delta.index]["arguments"] += delta.function.arguments
            pieces += 1
    return message, reason, pieces


def plain(message):
    """A whole message as `streamed` gives it."""
    calls = [{"name": c.function.name, "arguments": c.function.arguments} for c in message.tool_calls or ()]
    return {"content": message.content, "tool_calls": calls}


def test_a_loop_with_the_official_client(official):
    """The model asks, the client runs the function, the model answers."""
    answer = ask(official)
    (choice,) = answer.choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Let me see.")
    calls = choice.message.tool_calls
    assert [(call.type, call.function.name) for call in calls] == [("function", "weather")] * 2
    assert [json.loads(call.function.arguments) for call in calls] == CALLS
    assert len({call.id for call in calls}) == 2
    results = dict(zip((call.id for call in calls), RESULTS, strict=True))
    history = [*ASKED, choice.message, *({"role": "tool", "tool_call_id": i, "content": r} for i, r in results.items())]
    last = ask(official, messages=history).choices[0]
    assert (last.finish_reason, last.message.content, last.message.tool_calls) == ("stop", ANSWER, None)


def test_a_stream_says_the_same(official):
    whole = ask(official).choices[0]
    message, reason, pieces = streamed(official)
    assert (message, reason) == (plain(whole.message), whole.finish_reason)
    assert pieces > 20  # arguments come as they are written
    with official.chat.completions.stream(model="caller", messages=ASKED, tools=[WEATHER, CLOCK], temperature=0) as s:
        final = s.get_final_completion().choices[0]
    assert plain(final.message) == plain(whole.message)


def test_several_choices_and_log_probabilities(official):
    wanted = {"n": 2, "logprobs": True}
    for choice in ask(official, **wanted).choices:
        assert [json.loads(call.function.arguments) for call in choice.message.tool_calls] == CALLS
        assert b"".join(bytes(each.bytes) for each in choice.logprobs.content).decode() == SAID
    tokens: dict[int, bytes] = {0: b"", 1: b""}
    for chunk in ask(official, **wanted, stream=True):
        for each in chunk.choices[0].logprobs.content if chunk.choices[0].logprobs else ():
            tokens[chunk.choices[0].index] += bytes(each.bytes)
    assert [text.decode() for text in tokens.values()] == [SAID, SAID]


def test_the_loop_of_langchain(server):
    @tool
    def weather(city: str, days: int = 1) -> str:
        """The weather of a city."""
        return {"Ulm": "21", "Bonn": "19"}[city]

    model = ChatOpenAI(model="anyone", base_url=f"{server.url}/v1", api_key="none", max_retries=0, seed=1)
    forced = model.bind_tools([WEATHER], tool_choice="any")
    for answer in (forced.invoke("Ulm?"), _sum(forced.stream("Ulm?"))):
        assert answer.response_metadata["finish_reason"] == "tool_calls"
        assert not answer.invalid_tool_calls
        for call in answer.tool_calls:
            assert call["args"]["city"] in ("Ulm", "Bonn")
    history = [HumanMessage("Ulm?"), answer]
    history += [ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"]) for call in answer.tool_calls]
    last = model.bind_tools([weather], tool_choice="none").invoke(history, max_tokens=5)
    assert not last.tool_calls


def _sum(pieces):
    first, *others = pieces
    return sum(others, start=first)


def test_auto_with_langchain(server):
    model = ChatOpenAI(model="caller", base_url=f"{server.url}/v1", api_key="none", max_retries=0, temperature=0)
    answer = model.bind_tools([WEATHER, CLOCK]).invoke(ASKED)
    assert [call["args"] for call in answer.tool_calls] == CALLS


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_knows_no_tools_must_call(official, seed, stream):
    """Random weights: without the grammar this would be noise."""
    named = {"type": "function", "function": {"name": "clock"}}
    for choice, names in (("required", {"weather", "clock"}), (named, {"clock"})):
        wanted = {"model": "anyone", "tool_choice": choice, "seed": seed, "temperature": 1}
        if stream:
            message, reason, _ = streamed(official, **wanted)
        else:
            (made,) = ask(official, **wanted).choices
            message, reason = plain(made.message), made.finish_reason
        assert (reason, message["content"]) == ("tool_calls", None)
        assert {call["name"] for call in message["tool_calls"]} <= names
        for call in message["tool_calls"]:
            arguments = json.loads(call["arguments"])
            assert arguments == {} if call["name"] == "clock" else arguments["city"] in ("Ulm", "Bonn")
        assert choice == "required" or len(message["tool_calls"]) == 1


def test_one_call_at_most(official):
    choice = ask(official, parallel_tool_calls=False).choices[0]
    assert [json.loads(call.function.arguments) for call in choice.message.tool_calls] == CALLS[:1]
    assert choice.finish_reason == "tool_calls"


def test_none_is_text(official):
    choice = ask(official, tool_choice="none", max_tokens=5).choices[0]
    assert choice.message.tool_calls is None


@pytest.mark.parametrize("most", range(10, len(SAID.encode()), 7))
def test_a_call_that_is_cut_is_never_taken_for_a_whole_one(official, most):
    whole, reason, _ = streamed(official, max_tokens=most)
    choice = ask(official, max_tokens=most).choices[0]
    assert (plain(choice.message), choice.finish_reason) == (whole, reason)
    assert reason == "length"
    for given, call in zip(CALLS, whole["tool_calls"], strict=False):
        written = json.dumps(given)
        assert written.startswith(call["arguments"])
        if call["arguments"] != written:
            with pytest.raises(ValueError):
                json.loads(call["arguments"])


def test_a_stop_string_leaves_whole_calls(official):
    for wanted in ({"stop": "Bonn"}, {"stop": ["days", "never"]}):
        message, reason, _ = streamed(official, **wanted)
        assert (message, reason) == (plain(ask(official, **wanted).choices[0].message), "stop")
        assert [json.loads(call["arguments"]) for call in message["tool_calls"]] == CALLS[:1]


def test_json_or_a_call(official):
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema | {"additionalProperties": False}}}
    for seed in range(3):
        choice = ask(official, model="anyone", response_format=wanted, seed=seed, temperature=1).choices[0]
        if choice.message.tool_calls:
            assert choice.finish_reason == "tool_calls"
        else:
            assert json.loads(choice.message.content)["a"] in (True, False)


def named(**changes):
    return {"type": "function", "function": {**WEATHER["function"], **changes}}


def nested(levels: int) -> dict:
    schema: dict = {"type": "object"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


NOT_NULL = {"not": {"type": "null"}}
UNION = {"anyOf": [{"type": "string"}] * 600}
# What is wrong: (fields, `param`, part of the message)
BAD = {
    "no tools": ({"tools": []}, "tools", "at least 1"),
    "an unknown name": ({"tool_choice": {"type": "function", "function": {"name": "wether"}}}, "tool_choice",
                        "not among tools: weather"),
    "a name alone": ({"tool_choice": "weather"}, "tool_choice", "should be 'auto', 'none', 'required'"),
    "no name": ({"tool_choice": {"type": "function"}}, "tool_choice", "needs the tool's name"),
    "choice of another kind": ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice", "should be"),
    "choice without tools": ({"tools": None, "tool_choice": "required"}, "tool_choice", "needs tools"),
    "two of one name": ({"tools": [WEATHER, WEATHER]}, "tools", "two tools have the name 'weather'"),
    "a name with a space": ({"tools": [named(name="a b")]}, "tools", "1 to 64 letters"),
    "an empty name": ({"tools": [named(name="")]}, "tools", "1 to 64 letters"),
    "no function": ({"tools": [{"type": "function"}]}, "tools", "tools.0.function is required"),
    "another kind of tool": ({"tools": [{"type": "custom", "custom": {"name": "a"}}]}, "tools", "should be 'function'"),
    "an unknown field": ({"tools": [named(paramters={})]}, "tools", "Unrecognized"),
    "parameters a text": ({"tools": [named(parameters="x")]}, "tools", "must be an object"),
    "parameters a list": ({"tools": [named(parameters={"type": "array"})]}, "tools", "of type object, not 'array'"),
    "no schema": ({"tools": [named(parameters={"type": "object", "properties": {"a": {"type": "wrong"}}})]}, "tools",
                  "cannot be followed"),
    "a reference to nothing": ({"tools": [named(parameters={"properties": {"a": {"$ref": "#/$defs/b"}}})]}, "tools",
                               "cannot be followed"),
    "strict, and cannot be": ({"tools": [named(strict=True, parameters={"properties": {"a": NOT_NULL}})]}, "tools",
                              "cannot be followed"),
    "too deep": ({"tools": [named(parameters=nested(40))]}, None, "nested too deeply"),
    "too many alternatives": ({"tools": [named(parameters={"properties": {"a": UNION}})]}, "tools", "at most 500"),
    "too many in all": ({"tools": [named(name=f"f{i}", parameters={"properties": {f"p{j}": {} for j in range(200)}})
                                   for i in range(6)]}, "tools", "at most 1000"),
    "too many tools": ({"tools": [named(name=f"f{i}") for i in range(129)]}, "tools", "at most 128"),
    "a result without an id": ({"messages": [*ASKED, {"role": "tool", "content": "21"}]}, "messages", "tool_call_id"),
    "a result without content": ({"messages": [*ASKED, {"role": "tool", "tool_call_id": "a"}]}, "messages", "content"),
    "a call without a name": ({"messages": [*ASKED, {"role": "assistant", "tool_calls": [{"function": {}}]}]},
                              "messages", "name is required"),
    "too many alternatives in an answer": ({"response_format": {"type": "json_schema", "json_schema": {
        "name": "x", "schema": {"type": "object", "properties": {"a": UNION}}}}}, "response_format", "at most 500"),
    "a regex beside tools": ({"response_format": {"type": "regex", "regex": "a"}}, "response_format", "not supported"),
}  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("case", BAD)
def test_a_bad_request(official, case, stream):
    fields, param, message = BAD[case]
    body = {"model": "anyone", "messages": ASKED, "tools": [WEATHER], "max_tokens": 5, "stream": stream} | fields
    with pytest.raises(openai.BadRequestError) as caught:
        official.post("/chat/completions", body=body, cast_to=object)
    assert caught.value.param == param
    assert message in caught.value.message


def test_models_say_how_they_call(official):
    assert {model.id: model.tools for model in official.models.list()} == {"caller": "hermes", "anyone": "hermes"}
