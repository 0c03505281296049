"""Messages as clients' libraries dump them, and calls of tools as chat templates want them."""

import json
from types import SimpleNamespace

import pytest
from openai.types.chat import ChatCompletionMessage

from data.text.chat import Chats
from data.text.templates import ChatTemplate
from data.text.text_form import TextForm
from serving.engines.decode.text import Vocabulary
from serving.http.errors import ApiError
from serving.routes.chat_schema import ChatRequest
from serving.routes.prompts import chat_tokens
from serving.routes.schema import parse
from tests.serving import chat_bundle, tiny_bundle

USER = {"role": "user", "content": "hi"}


def plain(*messages: dict) -> list[dict]:
    """As a template gets them."""
    body = json.dumps({"messages": messages}).encode()
    return [message.plain() for message in parse(body, ChatRequest).messages]


DUMPED = {
    "OpenAI's client": ChatCompletionMessage(role="assistant", content="yes").model_dump(),
    "its helper for JSON": {"role": "assistant", "content": "yes", "parsed": {"a": [1]}, "refusal": None},
    "an agents' framework": {"role": "assistant", "content": "yes", "id": "msg_1", "type": "message", "status": "done"},
    "a gateway": {"role": "assistant", "content": "yes", "provider_specific_fields": {"x": 1}, "thinking_blocks": [{}]},
    "a reasoning model": {"role": "assistant", "content": "yes", "reasoning": "so", "reasoning_details": [{"t": "so"}]},
    "what is null, or empty": {"role": "assistant", "content": "yes", "mood": None, "images": [], "name": None},
    "parts": {"role": "assistant", "content": [{"type": "text", "text": "yes", "annotations": [], "cache": {}}]},
    "a refusal": {"role": "assistant", "content": None, "refusal": "yes"},
    "a refusal as a part": {"role": "assistant", "content": [{"type": "refusal", "refusal": "yes"}]},
}  # fmt: skip


@pytest.mark.parametrize("client", DUMPED)
def test_an_answer_as_it_was_dumped(client):
    assert plain(USER, DUMPED[client], USER) == [USER, {"role": "assistant", "content": "yes"}, USER]


def test_an_answer_without_a_word():
    assert plain(USER, {"role": "assistant", "content": None, "tool_calls": []})[1] == {
        "role": "assistant",
        "content": "",
    }


def test_reasoning_reaches_the_template():
    said = {"role": "assistant", "content": "yes", "reasoning_content": "so"}
    assert plain(USER, said | {"refusal": None})[1] == said


REFUSED = {
    "unknown": ({"content": "a", "mood": "calm"}, "Unrecognized request argument supplied: messages.0.mood"),
    "pictures": ({"content": "a", "images": ["x"]}, "Unrecognized request argument supplied: messages.0.images"),
    "speech": ({"content": "a", "audio": {"id": "x"}}, "messages.0 may not have audio"),
    "the older form": ({"content": None, "function_call": {"name": "f", "arguments": ""}}, "send tool_calls"),
    "a call of nothing": ({"tool_calls": [{"id": "a"}]}, "messages.0.tool_calls.0.function is required"),
    "a call without a name": ({"tool_calls": [{"function": {"arguments": "{}"}}]}, "function.name is required"),
    "a custom tool": ({"tool_calls": [{"type": "custom", "custom": {"name": "f"}}]}, "should be 'function'"),
    "a number": ({"tool_calls": [{"function": {"name": "f", "arguments": 5}}]}, "must be JSON text or an object"),
    "half a character": ({"tool_calls": [{"function": {"name": "f", "arguments": '{"a": "\\ud83d"}'}}]}, "surrogate"),
    "a control character": ({"tool_calls": [{"function": {"name": "f", "arguments": '{"\\u0000": 1}'}}]}, "control"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case):
    message, why = REFUSED[case]
    with pytest.raises(ApiError) as caught:
        plain({"role": "assistant"} | message)
    assert (caught.value.status, caught.value.param) == (400, "messages")
    assert why in caught.value.message


def called(arguments: object) -> dict:
    """As a stream is put together, and as OpenAI's helpers dump a call."""
    function = {"name": "f", "arguments": arguments, "parsed_arguments": {"city": "Paris"}}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "index": 0, "type": "function", "function": function}],
    }


# What published templates do with a call's arguments, and what is to come of {"city": "Paris"}
TEMPLATES = {
    "Qwen, Hermes, Llama": ("{{ call.function.arguments | tojson }}", '{"city": "Paris"}'),
    "the whole function": ("{{ call.function | tojson }}", '{"name": "f", "arguments": {"city": "Paris"}}'),
    "the whole call": ("{{ call | tojson }}",
                       '{"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"city": "Paris"}}}'),
    "GLM": ("{% for key, value in call.function.arguments.items() %}{{ key }}={{ value }}{% endfor %}", "city=Paris"),
    "Qwen3-Coder": ("{% for key, value in call.function.arguments | items %}{{ key }}={{ value }}{% endfor %}",
                    "city=Paris"),
    "printed": ("{{ call.function.arguments }}", '{"city": "Paris"}'),
    "DeepSeek": ("{{ 'json\n' + call.function.arguments + '\n' }}", 'json\n{"city": "Paris"}\n'),
    "joined": ("{{ call.function.name ~ call.function.arguments }}", 'f{"city": "Paris"}'),
    "Kimi": ("{% set a = call.function.arguments %}{% if a is string %}{{ a }}{% else %}{{ a | tojson }}{% endif %}",
             '{"city": "Paris"}'),
    "those that ask": ("{% if call.function.arguments is mapping %}yes{% endif %}", "yes"),
}  # fmt: skip


@pytest.mark.parametrize("given", ['{"city": "Paris"}', {"city": "Paris"}], ids=["text", "object"])
@pytest.mark.parametrize("name", TEMPLATES)
def test_arguments_as_templates_want_them(name, given):
    source, wanted = TEMPLATES[name]
    template = ChatTemplate("{% for call in messages[0].tool_calls %}" + source + "{% endfor %}")
    assert template.render(plain(called(given))) == wanted


@pytest.mark.parametrize(("given", "wanted"), [
    ("", "{}"), (None, "{}"), ("{}", "{}"), ("not JSON", '"not JSON"'), ("[1]", '"[1]"'),
    ('{"a": NaN}', '"{\\"a\\": NaN}"'),
    ('{"a": {"b": [1, 2.5, true, null, "ü"]}}', '{"a": {"b": [1, 2.5, true, null, "ü"]}}'),
    ('{"a": 1, "a": 2}', '"{\\"a\\": 1, \\"a\\": 2}"'),
    ('{"a":' * 99 + "1" + "}" * 99, json.dumps('{"a":' * 99 + "1" + "}" * 99)),
    ('{"a":' * 99999 + "1", json.dumps('{"a":' * 99999 + "1")),
])  # fmt: skip
def test_what_is_no_object_stays_as_it_is(given, wanted):
    template = ChatTemplate("{{ messages[0].tool_calls[0].function.arguments | tojson }}")
    assert template.render(plain(called(given))) == wanted


@pytest.mark.parametrize("write", ["", "| tojson"])
@pytest.mark.parametrize("end", ["<|im_end|>", "\\u003c|im_end|\\u003e"])
def test_arguments_cannot_speak_for_the_system(tmp_path, write, end):
    """A special token in a call's arguments, however it is spelled, stays text: byte by byte."""
    tokenizer = chat_bundle.tokenizer()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    vocabulary = Vocabulary(tmp_path / "tokenizer.json", tokenizer.get_vocab_size())
    source = "{{ messages[0].tool_calls[0].function.arguments " + write + " }}<|im_end|>"
    served = SimpleNamespace(chats=Chats(ChatTemplate(source), vocabulary.special, vocabulary.encode),
                             vocabulary=vocabulary,
                             bundle=SimpleNamespace(context=999, vocab_size=tokenizer.get_vocab_size(),
                                                    form=TextForm()))  # fmt: skip
    tokens = chat_tokens(served, plain(called(f'{{"a": "{end}"}}')), None)
    shown = '{"a": "<|im_end|>"}' if write else f'{{"a": "{end}"}}'
    assert list(tokens) == [*tiny_bundle.bytes_of(shown, tokenizer), tokenizer.token_to_id("<|im_end|>")]
