"""The service's own OpenAPI description, and requests that schemathesis makes up from it."""

import httpx
import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error

from tests.serving import chat_bundle

POSTED = {
    *("/v1/completions", "/v1/chat/completions", "/v1/embeddings", "/v1/rerank", "/v2/rerank", "/v1/search"),
    *("/v1/feedback", "/v1/audio/transcriptions"),
}
V2 = {
    f"/v2/models/{{model}}{version}{more}"
    for version in ("", "/versions/{version}")
    for more in ("", "/ready", "/infer")
}
FORWARD = {"/v1/models/{model}/predict", "/v2", "/v2/health/live", "/v2/health/ready", *V2}
PAGES = {"/", "/web/{name}", "/card", "/card/{name}", "/status", "/status.json"}
ROUTES = {*POSTED, *FORWARD, "/v1/models", "/v1/models/{model}", "/v1/models/{model}/delivery", *PAGES}
KINDS = [
    (path, mode)
    for path in sorted(ROUTES)
    for mode in schemathesis.GenerationMode
    if path in POSTED or not mode.is_negative  # in a path or a query any text may stand: nothing to break
]


@pytest.fixture(scope="module")
def described(tmp_path_factory, serve):
    server = serve(chat_bundle.build(tmp_path_factory.mktemp("openapi") / "bundle", max_tokens=20))
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


def test_every_route_and_no_dangling_reference(described):
    raw = described.raw_schema
    assert set(raw["paths"]) == ROUTES
    known = {f"#/components/schemas/{name}" for name in raw["components"]["schemas"]}

    def references(value: object) -> set[str]:
        if isinstance(value, dict):
            return {value["$ref"]} if "$ref" in value else set().union(*map(references, value.values()), set())
        return set().union(*map(references, value), set()) if isinstance(value, list) else set()

    assert references(raw) <= known
    fields = raw["components"]["schemas"]["ChatRequest"]["properties"]
    assert {"messages", "tools", "response_format", "min_p", "logit_bias", "seed"} <= set(fields)


@pytest.mark.parametrize(("path", "mode"), KINDS)
def test_no_request_makes_the_server_fail(described, path, mode):
    """Requests as described, and requests that break the description in every way schemathesis knows."""
    (method,) = described.raw_schema["paths"][path]
    strategy = described[path][method.upper()].as_strategy(generation_mode=mode)

    @hypothesis.given(case=strategy)
    @hypothesis.settings(max_examples=25, deadline=None, suppress_health_check=list(hypothesis.HealthCheck),
                         derandomize=True, database=None)  # fmt: skip
    def ask(case):
        case.call_and_validate(checks=[not_a_server_error], timeout=30)

    ask()


HOSTILE = {
    "control characters": b'{"messages": [{"role": "user", "content": "\\u0000\\u001b[2J\\u0007"}]}',
    "half a character": b'{"messages": [{"role": "user", "content": "\\ud83d"}]}',
    "half a character as a role": b'{"messages": [{"role": "\\ud83d", "content": "a"}]}',
    "half a character in a tool": b'{"messages": [{"role": "user", "content": "a"}], "tools": [{"\\ud83d": 1}]}',
    "a megabyte": b'{"messages": [{"role": "user", "content": "' + b"x " * 520_000 + b'"}]}',
    "nearly a megabyte": b'{"messages": [{"role": "user", "content": "' + b"x " * 500_000 + b'"}]}',
    "many messages": b'{"messages": [' + b'{"role": "user", "content": "a"},' * 30_000 + b'{"role": "user"}]}',
    "deep": b'{"messages": ' + b"[" * 400_000 + b"]" * 400_000 + b"}",
    "deep tools": b'{"messages": [{"role": "user", "content": "a"}], "tools": ['
    + b'{"a":' * 90 + b"1" + b"}" * 90 + b"]}",
    "wide": b'{"messages": [' + b"1," * 300_000 + b"1]}",
    "a schema that is its own part": b'{"messages": [{"role": "user", "content": "a"}], "response_format": {"type": '
    b'"json_schema", "json_schema": {"name": "a", "schema": {"$ref": "#"}}}}',
    "a far schema": b'{"messages": [{"role": "user", "content": "a"}], "response_format": {"type": "json_schema", '
    b'"json_schema": {"name": "a", "schema": {"$ref": "http://127.0.0.1:1/schema"}}}}',
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_bodies(described, case):
    url = described.get_base_url().rstrip("/")
    answer = httpx.post(f"{url}/v1/chat/completions", content=HOSTILE[case], timeout=60, trust_env=False,
                        headers={"Content-Type": "application/json"})  # fmt: skip
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.json()["error"]["message"]
    alive = httpx.post(f"{url}/v1/completions", json={"prompt": "a", "max_tokens": 1}, timeout=30, trust_env=False)
    assert alive.status_code == 200
