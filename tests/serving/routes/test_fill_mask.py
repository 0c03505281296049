"""A model that fills a blank: one [MASK] a text, the likeliest few answers, and what is refused, over HTTP."""

from pathlib import Path

import httpx
import pytest

from data import golden
from pipelines.release.smoke import smoke
from tests.serving.forward_bundles import BLANK, expected, text, texts

WANTED = text(0) + b" of [MASK]"


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return texts(tmp_path_factory.mktemp("blank") / "blank", "blank", BLANK)


@pytest.fixture(scope="module")
def client(blank, serve):
    with httpx.Client(base_url=serve(blank).url, timeout=30, trust_env=False) as made:
        yield made


def predict(client, **request):
    return client.post("/v1/models/blank/predict", **request)


def test_the_likeliest_few_or_as_many_as_asked_for(client, blank):
    scores = expected(blank, BLANK, (WANTED,))[0]
    (one,) = predict(client, json={"inputs": WANTED.decode()}).json()
    best = int(scores.argmax())
    assert one == [{"label": BLANK.outputs[0].labels[best], "score": pytest.approx(float(scores[best]), abs=1e-6)}]
    raw = predict(client, content=WANTED, headers={"Content-Type": "text/plain"}).json()
    assert raw == [one]
    (both,) = predict(client, json={"inputs": WANTED.decode(), "parameters": {"top_k": 2}}).json()
    assert [each["label"] for each in both] == [BLANK.outputs[0].labels[at] for at in (best, 1 - best)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("of the people", "text: no [MASK] in the text, where one is asked for"),
        ("[MASK] of [MASK]", "text: 2 [MASK] in the text, where one is asked for"),
        ("of the [mask]", "text: no [MASK] in the text"),
        ("", "text: no [MASK] in the text"),
    ],
)
def test_no_blank_or_several_are_refused(client, given, message):
    answer = predict(client, json={"inputs": given})
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]
    assert "[MASK]" in answer.json()["error"]["message"]


def test_a_release_compares_all_answers(client, blank):
    item = golden.load(blank, BLANK)[0]
    body, _ = golden.request(BLANK, item)
    assert b'"parameters": {"top_k": 2}' in body
    smoke(str(client.base_url), f"blank:{client.get('/v1/models/blank').json()['version']}", 5, blank)


def test_it_is_described(client):
    schema = client.get("/openapi.json").json()["paths"]["/v1/models/blank/predict"]["post"]
    content = schema["requestBody"]["content"]["application/json"]["schema"]
    assert content["properties"]["inputs"]["anyOf"][0]["description"] == "at most 100 tokens, [MASK] once among them"
    (declared,) = client.get("/v1/models/blank").json()["inputs"]
    assert declared["mask"] == "[MASK]"
