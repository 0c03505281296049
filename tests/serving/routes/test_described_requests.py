"""Requests that schemathesis makes up from the service's OpenAPI, made such that they reach the model.

As they come (test_openapi.py) almost none does: the model's name is not one that is served, a text has control
characters or is too long. Here those few fields are put right, so that all the others meet the engine.
"""

from collections import Counter
from typing import Any

import httpx
import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error

from serving.engines.decode.text import CONTROL, SURROGATE
from serving.routes.chat_schema import ChatRequest
from serving.routes.completion_schema import CompletionRequest
from tests.serving import chat_bundle

VOCABULARY, MOST = 259, 20
REMOVED = ("model", "best_of", "logit_bias", "suffix", "functions", "function_call", "audio", "prediction", "sources")
"""Fields that only a value which no description names makes valid."""
EXAMPLES = hypothesis.settings(max_examples=40, deadline=None, suppress_health_check=list(hypothesis.HealthCheck),
                               derandomize=True, database=None)  # fmt: skip


@pytest.fixture(scope="module")
def described(tmp_path_factory, serve):
    server = serve(chat_bundle.build(tmp_path_factory.mktemp("described") / "bundle", max_tokens=MOST))
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


def writable(value: Any) -> Any:
    """The same without what no description forbids: control characters, and whole numbers written as 1.0."""
    if isinstance(value, str):
        return CONTROL.sub("", SURROGATE.sub("", value))[:20] or "a"
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {CONTROL.sub("", SURROGATE.sub("", key)): writable(inner) for key, inner in value.items()}
    return [writable(inner) for inner in value[:4]] if isinstance(value, list) else value


def prompt(given: Any) -> Any:
    """Something to continue, of the same kind."""
    if isinstance(given, int):
        return given % VOCABULARY
    return [prompt(each) for each in given] or [1] if isinstance(given, list) else given


def answerable(body: dict[str, Any]) -> dict[str, Any]:
    """The same request as this server can answer it."""
    body = writable(body)
    for name in REMOVED:
        body.pop(name, None)
    for name, most in {"max_tokens": MOST, "max_completion_tokens": MOST, "n": 4}.items():
        if body.get(name) is not None:
            body[name] = max(1, min(body[name], most))
    body["timeout"] = 60
    if "prompt" in body:
        body["prompt"] = prompt(body["prompt"])
    for message in body.get("messages", ()):
        message |= {"content": "a"} if not isinstance(message.get("content"), str) else {}
        message |= {"role": "user"} if message["role"] == "tool" else {}  # which the template of the tests refuses
    if not body.get("logprobs"):
        body.pop("top_logprobs", None)
    if (body.get("response_format") or {}).get("type") in ("json_schema", "regex"):
        body["response_format"] = {"type": "regex", "regex": "[a-z]{1,5}"}
    return body


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_what_the_description_allows_is_answered(described, path):
    statuses: Counter[tuple[int, str]] = Counter()
    strategy = described[path]["POST"].as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE)

    @hypothesis.given(case=strategy)
    @EXAMPLES
    def ask(case):
        case.body = answerable(case.body)
        answer = case.call_and_validate(checks=[not_a_server_error], timeout=60)
        why = "" if answer.status_code == 200 else answer.json()["error"]["message"]
        statuses[answer.status_code, why] += 1

    ask()
    answered = sum(count for (status, _), count in statuses.items() if status == 200)
    assert answered > 0.7 * statuses.total(), statuses
    assert {status for status, _ in statuses} <= {200, 400}


BODIES = {"/v1/completions": CompletionRequest, "/v1/chat/completions": ChatRequest}
FIELDS = [(path, name) for path, schema in BODIES.items() for name in schema.model_fields
          if name not in (*REMOVED, "prompt", "messages")]  # fmt: skip
TEXT = {"/v1/completions": ("prompt", "a"), "/v1/chat/completions": ("messages", [{"role": "user", "content": "a"}])}


@pytest.mark.parametrize(("path", "name"), FIELDS)
def test_each_field_reaches_the_model(described, path, name):
    """A request with one field beside the text: of all fields at once few are ever right together."""
    raw = described.raw_schema
    fields = raw["components"]["schemas"][BODIES[path].__name__]["properties"]
    text, words = TEXT[path]
    body = {"type": "object", "required": [text, name], "properties": {text: {"enum": [words]}, name: fields[name]}}
    operation = {"requestBody": {"content": {"application/json": {"schema": body}}, "required": True}, "responses": {}}
    alone = schemathesis.openapi.from_dict(raw | {"paths": {path: {"post": operation}}})
    reasons: set[str] = set()

    @hypothesis.given(case=alone[path]["POST"].as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE))
    @hypothesis.settings(EXAMPLES, max_examples=6)
    def ask(case):
        sent = answerable(
            {key: case.body[key] for key in {text, name}} | ({"logprobs": True} if name == "top_logprobs" else {})
        )
        url = described.get_base_url().rstrip("/") + path
        answer = httpx.post(url, json=sent, timeout=60, trust_env=False)
        assert answer.status_code in (200, 400), (sent, answer.text)
        reasons.add("" if answer.status_code == 200 else answer.json()["error"]["message"])

    ask()
    assert "" in reasons, reasons
