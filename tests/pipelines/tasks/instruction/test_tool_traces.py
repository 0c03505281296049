"""A tiny model is taught to call a tool, exported and served: OpenAI's client and LangChain's get calls from it."""

import json
from typing import Any

import pytest
from langchain_openai import ChatOpenAI

from pipelines.evaluation import evaluate
from pipelines.exporting.stage import export
from pipelines.paths import Paths
from pipelines.training.stage import train
from serving.app.run import Server, start
from tests import chats
from tests.pipelines.tasks.instruction import small_chats
from tests.serving import clients

COLOUR = {"type": "object", "properties": {"colour": {"enum": list(chats.COLOURS)}}, "required": ["colour"],
          "additionalProperties": False}  # fmt: skip
PAINT = {"type": "function", "function": {"name": "paint", "parameters": COLOUR}}
ASKS = "A {thing} in {colour}"


def traces() -> list[dict[str, Any]]:
    """A call where something is to be painted, its result, and an answer."""
    rows = []
    for thing in chats.THINGS:
        for colour in chats.COLOURS:
            arguments = json.dumps({"colour": colour})
            call = {"id": "1", "type": "function", "function": {"name": "paint", "arguments": arguments}}
            rows.append({"tools": [PAINT], "messages": [
                {"role": "user", "content": ASKS.format(colour=colour, thing=thing)},
                {"role": "assistant", "content": "", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "1", "content": "ok"},
                {"role": "assistant", "content": "Done."}]})  # fmt: skip
    return rows


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """Trained for seconds on traces, evaluated and exported."""
    recipe = small_chats.recipe(
        data={"chat": {}, "template": "hermes", "duplicates": {"near": False}, "length": 640},
        train=small_chats.TRAIN | {"steps": 120, "sequence": 640, "batch": 4},
        evaluate={"answers": 4, "answer_tokens": 80, "resamples": 100, "reference_tokens": 16,
                  "plain_text": {"tokens": 256, "context": 64}},
    )  # fmt: skip
    paths = small_chats.prepared(tmp_path_factory.mktemp("tools"), traces(), recipe, context=768)
    train(recipe, paths)
    evaluate(recipe, paths, paths.pretrained)
    export(recipe, paths)
    return paths


@pytest.fixture(scope="module")
def server(taught: Paths, tmp_path_factory: pytest.TempPathFactory):
    home = tmp_path_factory.mktemp("home")
    server: Server = start(taught.bundle, port=0, log=home / "log", tied=True,
                           environment={"BENTOML_HOME": str(home), "METROLINE_THREADS": "1"})  # fmt: skip
    server.wait_ready(60)
    yield server
    server.kill()


def test_it_calls_of_itself_and_then_answers(server):
    official = clients.official(server)
    for colour in chats.COLOURS[:3]:
        messages: list[Any] = [{"role": "user", "content": ASKS.format(colour=colour, thing="hat")}]
        wanted = {"model": "taught", "tools": [PAINT], "temperature": 0, "max_tokens": 100}
        asked = official.chat.completions.create(messages=messages, **wanted).choices[0]
        assert asked.finish_reason == "tool_calls"
        (call,) = asked.message.tool_calls
        assert call.function.name == "paint"
        assert json.loads(call.function.arguments)["colour"] in chats.COLOURS  # which, so few steps do not teach
        messages += [asked.message, {"role": "tool", "tool_call_id": call.id, "content": "ok"}]
        last = official.chat.completions.create(messages=messages, **wanted).choices[0]
        assert (last.finish_reason, last.message.content, last.message.tool_calls) == ("stop", "Done.", None)


def test_langchain_streams_its_call(server):
    model = ChatOpenAI(model="taught", base_url=f"{server.url}/v1", api_key="none", max_retries=0, temperature=0)
    question = ASKS.format(colour="blue", thing="hat")
    whole = model.bind_tools([PAINT]).invoke(question, max_tokens=100)
    first, *others = model.bind_tools([PAINT]).stream(question, max_tokens=100)
    streamed = sum(others, start=first)
    assert [call["args"] for call in streamed.tool_calls] == [call["args"] for call in whole.tool_calls]
    assert whole.tool_calls[0]["name"] == "paint"
