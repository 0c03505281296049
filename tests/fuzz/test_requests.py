"""Bodies of requests with anything in them: read, or refused with status 400 in one line that can be sent."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from base.errors import MetrolineError
from data.text.templates import ChatTemplate
from serving.http.errors import ApiError
from serving.routes.chat_schema import ChatRequest
from serving.routes.completion_schema import CompletionRequest
from serving.routes.schema import parse
from tests.fuzz.profile import FUZZ, JSON, one_line, outcome
from tests.gguf_files import TEMPLATE

SCHEMAS = {"completions": CompletionRequest, "chat": ChatRequest}
VALID = {"completions": {"prompt": "a"}, "chat": {"messages": [{"role": "user", "content": "a"}]}}


def check(raw: bytes, kind: str) -> list[CompletionRequest | ChatRequest]:
    """The request, or none where it is refused."""
    read: list[CompletionRequest | ChatRequest] = []
    refused = outcome(lambda: read.append(parse(raw, SCHEMAS[kind])), ApiError)
    assert refused is None or one_line(refused)
    return read


@pytest.mark.parametrize("kind", SCHEMAS)
@given(data=st.data())
@FUZZ
def test_other_values_of_known_fields(kind, data):
    fields = st.sampled_from(sorted(SCHEMAS[kind].model_fields))
    body = VALID[kind] | data.draw(st.dictionaries(fields | st.text(max_size=8), JSON, min_size=1, max_size=3))
    for request in check(json.dumps(body).encode(), kind):
        if request.response_format:
            request.response_format.grammar()


@pytest.mark.parametrize("kind", SCHEMAS)
@example(raw=b'{"a\\rb": 1}')
@given(raw=st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()))
@FUZZ
def test_any_body(kind, raw):
    check(raw, kind)


def check_chat(messages: list[dict[str, Any]]) -> None:
    """Rendered with every message's text in it, or refused."""
    texts: list[str] = []
    refused = outcome(lambda: texts.append(ChatTemplate(TEMPLATE).render(messages)), MetrolineError)
    assert refused is None or one_line(refused)
    assert all(message["content"].strip() in text for text in texts for message in messages)


MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "developer", "user", "assistant", "tool"]) | JSON, "content": JSON},
    optional={"name": JSON, "tool_calls": st.lists(JSON, max_size=2), "tool_call_id": JSON},
)
TALK = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["system", "developer", "user", "assistant"]),
        "content": st.text(max_size=20) | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": st.text()})),
    }
)


@given(st.lists(MESSAGE | TALK, max_size=4))
@FUZZ
def test_chats(messages):
    for request in check(json.dumps({"messages": messages}).encode(), "chat"):
        assert isinstance(request, ChatRequest)
        check_chat([message.plain() for message in request.messages])
