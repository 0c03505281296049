"""The HTTP routes of a running server: OpenAI's client, streams, and a table of everything that can be wrong."""

import json
import socket
import time

import httpx
import openai
import pytest

from tests.serving import clients
from tests.serving.clients import metric
from tests.serving.tiny_bundle import SCRIPT


@pytest.fixture(scope="module")
def client(server):
    with clients.http(server) as made:
        yield made


@pytest.fixture(scope="module")
def official(server):
    return clients.official(server)


@pytest.fixture(scope="module")
def scripted_client(scripted_server):
    return clients.official(scripted_server)


def test_openai_client(official):
    answer = official.completions.create(model="tiny", prompt="the people", max_tokens=12, seed=3, logprobs=2)
    assert answer.object == "text_completion"
    assert answer.choices[0].finish_reason in ("length", "stop")
    assert len(answer.choices[0].logprobs.tokens) == answer.usage.completion_tokens
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer._request_id
    again = official.completions.create(model="tiny", prompt="the people", max_tokens=12, seed=3)
    assert again.choices[0].text == answer.choices[0].text


def test_openai_client_streams(official):
    wanted = {"model": "tiny", "prompt": "the people", "max_tokens": 20, "seed": 3}
    whole = official.completions.create(**wanted)
    chunks = list(official.completions.create(**wanted, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole.choices[0].text
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason
    assert chunks[-1].usage == whole.usage
    assert len({chunk.id for chunk in chunks}) == 1


def test_models(official):
    (model,) = official.models.list().data
    assert (model.id, model.owned_by) == ("tiny", "metroline")
    assert official.models.retrieve("tiny") == model
    assert official.models.retrieve(f"tiny:{model.version}") == model
    answer = official.completions.create(model=f"tiny:{model.version}", prompt="a", max_tokens=1)
    assert answer.system_fingerprint == f"fp_{model.version}"


def test_several_prompts_and_choices(official):
    answer = official.completions.create(model="tiny", prompt=["the ", "union"], n=2, max_tokens=5, seed=1)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert answer.usage.completion_tokens <= 20
    streamed: dict[int, str] = {}
    for chunk in official.completions.create(
        model="tiny", prompt=["the ", "union"], n=2, max_tokens=5, seed=1, stream=True
    ):
        streamed[chunk.choices[0].index] = streamed.get(chunk.choices[0].index, "") + chunk.choices[0].text
    assert [streamed[index] for index in range(4)] == [choice.text for choice in answer.choices]


def test_token_ids_as_prompt(client):
    def text(prompt) -> str:
        answer = client.post("/v1/completions", json={"prompt": prompt, "temperature": 0, "max_tokens": 6})
        return answer.json()["choices"][0]["text"]

    ids = [85, 70, 2]
    assert text(ids) == text([ids])


def test_echo_and_logprobs_add_up(client):
    body = {"prompt": "naïve the", "max_tokens": 4, "echo": True, "logprobs": 1, "temperature": 0}
    choice = client.post("/v1/completions", json=body).json()["choices"][0]
    assert choice["text"].startswith("naïve the")
    logprobs = choice["logprobs"]
    assert logprobs["token_logprobs"][0] is None
    assert all(value < 0 for value in logprobs["token_logprobs"][1:])
    # "naï": two tokens for ï, the second of which continues the character that the first began
    assert logprobs["tokens"][:4] == ["n", "a", "bytes:\\xc3", "bytes:\\xaf"]
    assert logprobs["text_offset"][:5] == [0, 1, 2, 3, 3]


def test_stream_cuts_no_character_and_stops_across_tokens(scripted_client):
    wanted = {"model": "scripted", "prompt": "x", "max_tokens": 300, "temperature": 0}
    texts = [c.choices[0].text for c in scripted_client.completions.create(**wanted, stream=True)]
    assert "�" not in "".join(texts)
    assert "naïve café, 😀 and 漢字; the end. Fellow" in "".join(texts)
    assert "😀" in texts
    stopped = list(scripted_client.completions.create(**wanted, stream=True, stop=["漢字;", "zz"]))
    assert "".join(c.choices[0].text for c in stopped) == SCRIPT[1 : SCRIPT.index("漢字;")]
    assert stopped[-1].choices[0].finish_reason == "stop"


def test_a_format_is_kept(scripted_client):
    """The script says anything but JSON; the grammar makes a number of it."""
    schema = {"type": "object", "properties": {"year": {"type": "integer", "minimum": 1790, "maximum": 2026}},
              "required": ["year"], "additionalProperties": False}  # fmt: skip
    form = {"type": "json_schema", "json_schema": {"name": "speech", "schema": schema}}
    wanted = {"model": "scripted", "prompt": "x", "max_tokens": 60, "temperature": 0}
    answer = scripted_client.completions.create(**wanted, extra_body={"response_format": form}).choices[0]
    assert 1790 <= json.loads(answer.text)["year"] <= 2026
    word = {"response_format": {"type": "regex", "regex": "(yes|no)"}, "min_p": 0.1, "repetition_penalty": 1.1}
    answer = scripted_client.completions.create(**wanted, extra_body=word).choices[0]
    assert (answer.text in ("yes", "no"), answer.finish_reason) == (True, "stop")


def test_raw_stream_is_server_sent_events(client):
    body = {"prompt": "the", "max_tokens": 3, "stream": True}
    with client.stream("POST", "/v1/completions", json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        blocks = answer.read().decode().split("\n\n")
    assert blocks[-2:] == ["data: [DONE]", ""]
    assert all(json.loads(block.removeprefix("data: "))["object"] == "text_completion" for block in blocks[:-2])


@pytest.mark.parametrize("stream", [True, False])
def test_leaving_stops_generation(scripted_server, stream):
    with clients.http(scripted_server) as client:
        before = metric(scripted_server, "metroline_cancelled_total")
        body = {"prompt": "x", "max_tokens": 1000, "n": 8, "stream": stream}
        if stream:
            with client.stream("POST", "/v1/completions", json=body) as answer:
                next(answer.iter_lines())
        else:
            with pytest.raises(httpx.ReadTimeout):
                client.post("/v1/completions", json=body, timeout=0.5)
        deadline = time.monotonic() + 10
        while metric(scripted_server, "metroline_cancelled_total") == before and time.monotonic() < deadline:
            time.sleep(0.05)
        assert metric(scripted_server, "metroline_cancelled_total") == before + 1
        made = metric(scripted_server, "metroline_tokens_out_total")
        time.sleep(0.3)
        assert metric(scripted_server, "metroline_tokens_out_total") == made
        assert metric(scripted_server, "metroline_active_streams") == 0


def test_pages(client):
    assert client.get("/card").text.startswith("# tiny")
    assert client.get("/card?model=tiny").content == client.get("/card").content
    assert client.get("/card/curves.png").content.startswith(b"\x89PNG")
    page = client.get("/")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    for name in ("style.css", "playground.js", "icon.svg"):
        assert f"web/{name}" in page.text
        assert client.get(f"/web/{name}").status_code == 200
    assert "/v1/completions" in client.get("/openapi.json").json()["paths"]


# What is wrong: (body or how to send it, status, `param`, part of the message)
BAD = {
    "no prompt": ({}, 400, "prompt", "is required"),
    "empty prompt": ({"prompt": ""}, 400, "prompt", "is empty"),
    "no prompts": ({"prompt": []}, 400, "prompt", "is empty"),
    "one empty among prompts": ({"prompt": ["a", ""]}, 400, "prompt", "is empty"),
    "no token": ({"prompt": [[]]}, 400, "prompt", "is empty"),
    "null prompt": ({"prompt": None}, 400, "prompt", "must be a string"),
    "number as prompt": ({"prompt": 5}, 400, "prompt", "must be a string"),
    "mixed prompts": ({"prompt": ["a", 5]}, 400, "prompt", "must be a string"),
    "mixed token lists": ({"prompt": [[1], ["a"]]}, 400, "prompt", "must be a string"),
    "booleans as tokens": ({"prompt": [True]}, 400, "prompt", "must be a string"),
    "fractions as tokens": ({"prompt": [1.5]}, 400, "prompt", "must be a string"),
    "negative token": ({"prompt": [-1]}, 400, "prompt", "between 0 and 262"),
    "token over the vocabulary": ({"prompt": [263]}, 400, "prompt", "between 0 and 262"),
    "prompt over the context": ({"prompt": "x" * 65}, 400, "prompt", "maximum context length is 64 tokens"),
    "lone surrogate": ({"prompt": "a\ud83d"}, 400, "prompt", "lone surrogate U+D83D"),
    "control character": ({"prompt": "a\x00b"}, 400, "prompt", "control character (U+0000) at position 1"),
    "escape character": ({"prompt": "\x1b[31mred"}, 400, "prompt", "control character"),
    "negative max_tokens": ({"prompt": "a", "max_tokens": -1}, 400, "max_tokens", "greater than or equal to 0"),
    "no tokens and no echo": ({"prompt": "a", "max_tokens": 0}, 400, "max_tokens", "at least 1"),
    "too many tokens": ({"prompt": "a", "max_tokens": 201}, 400, "max_tokens", "at most 200"),
    "max_tokens as text": ({"prompt": "a", "max_tokens": "5"}, 400, "max_tokens", "must be an integer"),
    "max_tokens a fraction": ({"prompt": "a", "max_tokens": 1.5}, 400, "max_tokens", "must be an integer"),
    "max_tokens true": ({"prompt": "a", "max_tokens": True}, 400, "max_tokens", "must be an integer"),
    "negative temperature": ({"prompt": "a", "temperature": -0.1}, 400, "temperature", "greater than or equal to 0"),
    "hot temperature": ({"prompt": "a", "temperature": 2.1}, 400, "temperature", "less than or equal to 2"),
    "temperature as text": ({"prompt": "a", "temperature": "hot"}, 400, "temperature", "must be a number"),
    "top_p 0": ({"prompt": "a", "top_p": 0}, 400, "top_p", "greater than 0"),
    "top_p over 1": ({"prompt": "a", "top_p": 1.01}, 400, "top_p", "less than or equal to 1"),
    "negative top_k": ({"prompt": "a", "top_k": -1}, 400, "top_k", "greater than or equal to 0"),
    "n 0": ({"prompt": "a", "n": 0}, 400, "n", "greater than or equal to 1"),
    "too many completions": ({"prompt": ["a", "b"], "n": 9}, 400, "n", "At most 16"),
    "best_of": ({"prompt": "a", "best_of": 3}, 400, "best_of", "not supported"),
    "too many logprobs": ({"prompt": "a", "logprobs": 6}, 400, "logprobs", "less than or equal to 5"),
    "logprobs true": ({"prompt": "a", "logprobs": True}, 400, "logprobs", "must be an integer"),
    "empty stop": ({"prompt": "a", "stop": ""}, 400, "stop", "may not be empty"),
    "too many stops": ({"prompt": "a", "stop": list("abcde")}, 400, "stop", "at most 4"),
    "stop a number": ({"prompt": "a", "stop": 5}, 400, "stop", "string or a list"),
    "long stop": ({"prompt": "a", "stop": "x" * 257}, 400, "stop", "at most 256"),
    "seed as text": ({"prompt": "a", "seed": "lucky"}, 400, "seed", "must be an integer"),
    "huge seed": ({"prompt": "a", "seed": 1 << 64}, 400, "seed", "less than"),
    "penalty": ({"prompt": "a", "presence_penalty": 3}, 400, "presence_penalty", "less than or equal to 2"),
    "logit_bias by text": ({"prompt": "a", "logit_bias": {"the": 1.0}}, 400, "logit_bias", "maps token ids"),
    "huge logit_bias": ({"prompt": "a", "logit_bias": {"5": 101}}, 400, "logit_bias", "from -100 to 100"),
    "logit_bias over the vocabulary": ({"prompt": "a", "logit_bias": {"263": 1}}, 400, "logit_bias", "0 and 262"),
    "many biases": ({"prompt": "a", "logit_bias": {str(i): 1 for i in range(1025)}}, 400, "logit_bias", "at most 1024"),
    "min_p": ({"prompt": "a", "min_p": 1.5}, 400, "min_p", "less than or equal to 1"),
    "no repetition": ({"prompt": "a", "repetition_penalty": 0}, 400, "repetition_penalty", "or equal to 0.1"),
    "format a word": ({"prompt": "a", "response_format": "json"}, 400, "response_format", "must be an object"),
    "unknown format": ({"prompt": "a", "response_format": {"type": "xml"}}, 400, "response_format", "should be"),
    "no schema": ({"prompt": "a", "response_format": {"type": "json_schema"}}, 400, "response_format", "is required"),
    "no regex": ({"prompt": "a", "response_format": {"type": "regex"}}, 400, "response_format", "is required"),
    "bad regex": ({"prompt": "a", "response_format": {"type": "regex", "regex": "("}}, 400, "response_format",
                  "cannot be followed"),
    "bad schema": ({"prompt": "a", "response_format": {"type": "json_schema", "json_schema": {
        "name": "a", "schema": {"type": "nothing"}}}}, 400, "response_format", "cannot be followed"),
    "suffix": ({"prompt": "a", "suffix": "z"}, 400, "suffix", "not supported"),
    "stream as text": ({"prompt": "a", "stream": "yes"}, 400, "stream", "must be true or false"),
    "stream option": ({"prompt": "a", "stream_options": {"usage": 1}}, 400, "stream_options", "Unrecognized"),
    "misspelt, and so missing": ({"promt": "a"}, 400, "promt", "Did you mean prompt?"),
    "misspelt": ({"prompt": "a", "max_token": 5}, 400, "max_token", "Did you mean max_tokens?"),
    "half a character as a name": ({"prompt": "a", "\ud83d": 5}, 400, None, "must be valid text"),
    "half an option": ({"prompt": "a", "stream_options": {"\ud83d": 5}}, 400, "stream_options", "valid string"),
    "half a character as a model": ({"model": "\ud83d", "prompt": "a"}, 404, "model", "does not exist"),
    "half a character to stop at": ({"prompt": "a", "stop": "\ud83d"}, 400, "stop", "valid text"),
    "a very long prompt": ({"prompt": "x" * 900_000}, 400, "prompt", "has at least 225000"),
    "chat": ({"messages": []}, 400, "prompt", "is required"),
    "another model": ({"model": "gpt-4", "prompt": "a"}, 404, "model", "does not exist"),
    "model a number": ({"model": 4, "prompt": "a"}, 400, "model", "must be a string"),
    "body a list": ([1], 400, None, "must be a JSON object"),
    "body a string": ("text", 400, None, "must be a JSON object"),
}  # fmt: skip

RAW = {
    "no body": (b"", 400, "could not parse"),
    "cut off": (b'{"prompt": "a"', 400, "could not parse"),
    "not JSON": (b"prompt=a", 400, "could not parse"),
    "raw control character": (b'{"prompt": "a\x00"}', 400, "could not parse"),
    "not UTF-8": (b'{"prompt": "\xff"}', 400, "could not parse"),
    "NaN": (b'{"prompt": "a", "temperature": NaN}', 400, "NaN is not JSON"),
    "Infinity": (b'{"prompt": "a", "temperature": Infinity}', 400, "Infinity is not JSON"),
    "beyond floats": (b'{"prompt": "a", "temperature": 1e999}', 400, "temperature"),
    "endless number": (b'{"prompt": "a", "seed": ' + b"9" * 5000 + b"}", 400, "could not parse"),
    "deep": (b"[" * 100_000, 400, "nested too deeply"),
    "deep enough": (b'{"prompt": "a", "logit_bias": ' + b'{"a":' * 99 + b"1" + b"}" * 100, 400, "nested too deeply"),
    "over-large": (b'{"prompt": "' + b"x" * (2 << 20) + b'"}', 413, "over the limit of 1048576 bytes"),
}

ROUTES = {
    "unknown route": ("GET", "/v1/nothing", 404, "unknown_url"),
    "wrong method for a chat": ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
    "another model's card": ("GET", "/card?model=gpt-4", 404, "model_not_found"),
    "wrong method": ("GET", "/v1/completions", 405, "method_not_allowed"),
    "wrong method for models": ("POST", "/v1/models", 405, "method_not_allowed"),
    "delete a model": ("DELETE", "/v1/models/tiny", 405, "method_not_allowed"),
    "unknown model": ("GET", "/v1/models/gpt-4", 404, "model_not_found"),
    "model with a slash": ("GET", "/v1/models/a/b", 404, "unknown_url"),
    "slash too many": ("GET", "/v1/models/", 404, "unknown_url"),
    "unknown file": ("GET", "/web/nothing.js", 404, "unknown_url"),
    "longer than a file's name may be": ("GET", f"/web/{'a' * 300}", 404, "unknown_url"),
    "out of the folder": ("GET", "/web/..%2fservice.py", 404, "unknown_url"),
    "no such picture": ("GET", "/card/nothing.png", 404, "not_in_bundle"),
    "no picture": ("GET", "/card/tokenizer.json", 404, "unknown_url"),
    "bundle file": ("GET", "/model.onnx", 404, "unknown_url"),
    "docs of BentoML": ("GET", "/docs.json", 404, "unknown_url"),
}


def check(answer: httpx.Response, status: int, param: str | None, message: str) -> None:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert message in error["message"]
    assert len(error["message"]) < 400


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("case", BAD)
def test_a_bad_body(client, case, stream):
    body, status, param, message = BAD[case]
    if stream and isinstance(body, dict):
        body = {"stream": True} | body
    # ensure_ascii: a lone surrogate can only travel as an escape
    raw = json.dumps(body, ensure_ascii=True).encode()
    answer = client.post("/v1/completions", content=raw, headers={"Content-Type": "application/json"})
    check(answer, status, param, message)


@pytest.mark.parametrize("case", RAW)
def test_a_bad_raw_body(client, case):
    raw, status, message = RAW[case]
    answer = client.post("/v1/completions", content=raw, headers={"Content-Type": "application/json"})
    check(answer, status, "temperature" if case == "beyond floats" else None, message)


def test_an_over_large_body_in_chunks(client):
    chunks = (b'{"prompt": "' + b"x" * 100_000 for _ in range(30))
    answer = client.post("/v1/completions", content=chunks, headers={"Content-Type": "application/json"})
    check(answer, 413, None, "over the limit")


HEAD = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("rest", "status"),
    [
        ("Content-Length: 100\r\n\r\n{", 408),  # a body that never comes
        ("Content-Length: 99999999\r\nExpect: 100-continue\r\n\r\n", 413),  # refused before it is sent
    ],
)
def test_a_body_that_is_not_waited_for(server, rest, status):
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall((HEAD + rest).encode())
        assert connection.recv(100).startswith(f"HTTP/1.1 {status}".encode())


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_what_is_not_sent_as_json(client, kind):
    answer = client.post("/v1/completions", content=b'{"prompt": "a"}', headers={"Content-Type": kind})
    check(answer, 415, None, "application/json")


@pytest.mark.parametrize("case", ROUTES)
def test_a_bad_route(client, case):
    method, path, status, code = ROUTES[case]
    answer = client.request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert (answer.headers.get("allow") is not None) == (status == 405)


def test_openai_client_raises_its_own_errors(official):
    with pytest.raises(openai.BadRequestError) as caught:
        official.completions.create(model="tiny", prompt="x" * 100)
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError):
        official.models.retrieve("gpt-4")


def test_unknown_addresses_do_not_grow_the_metrics(client):
    for number in range(20):
        client.get(f"/random/{number}")
        client.get(f"/v1/models/random-{number}")
    text = client.get("/metrics").text
    assert "random" not in text
    assert 'metroline_requests_total{model="tiny",route="/unknown",status="404"' in text
    assert 'route="/v1/models/{model}",status="404"' in text


def test_request_ids(client):
    assert client.get("/v1/models", headers={"X-Request-Id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert client.get("/v1/models", headers={"X-Request-Id": "no good\t!"}).headers["x-request-id"].startswith("req-")


def test_logs_are_json_without_prompts(server, client):
    secret = "the heretofore unheard"
    client.post("/v1/completions", json={"prompt": secret, "max_tokens": 2}, headers={"X-Request-Id": "log-me"})
    client.post("/v1/completions", json={"prompt": secret, "max_tokens": -2, "stop": secret})
    time.sleep(0.2)
    log = server.log.read_text()
    assert "heretofore" not in log
    lines = [json.loads(line) for line in log.splitlines()]
    (line,) = [each for each in lines if each.get("request_id") == "log-me"]
    assert (line["route"], line["status"], line["completion_tokens"], line["stream"]) == (
        "/v1/completions",
        200,
        2,
        False,
    )
