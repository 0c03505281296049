"""POST /v1/feedback and samples: on the disk when it says so, compared with answers, redacted, off by default."""

import json

import httpx
import pytest

from base.segments import read
from serving.http.keys import KeyRing
from tests.serving.forward_bundles import FLOWER, row

LABELS = FLOWER.outputs[0].labels
REDACT = """
def redact(record):
    if record.get("text") == "forget me":
        return None
    if record.get("text") == "fail":
        raise RuntimeError
    for item in record.get("inputs", ()):
        item.pop("city", None)
    return record
"""
BAD = [
    ({}, 400, "id is required"),
    ({"id": "a"}, 400, "Say one of label, score, correction and text"),
    ({"id": "a b", "score": 1}, 400, "id"),
    ({"id": 7, "score": 1}, 400, "id"),
    ({"id": "a", "score": "1"}, 400, "score"),
    ({"id": "a", "label": ""}, 400, "label"),
    ({"id": "a", "label": ["x"]}, 400, "label"),
    ({"id": "a", "label": LABELS[0] + "x"}, 400, f"has no label '{LABELS[0]}x'; did you mean {LABELS[0]}?"),
    ({"id": "a", "text": "x" * 70_000}, 400, "text"),
    ({"id": "a", "score": 1, "item": -1}, 400, "item"),
    ({"id": "a", "score": 1, "model": "nothing"}, 404, "does not exist here"),
    ({"id": "a", "skore": 1}, 400, "skore"),
    ("{", 400, "could not parse"),
    ('{"id": "a", "score": NaN}', 400, ""),
]


@pytest.fixture(scope="module")
def kept(tmp_path_factory, flower, serve):
    """(a client, the folder of records) of a server that keeps everything, and knows two keys."""
    folder = tmp_path_factory.mktemp("kept")
    (folder / "hiding.py").write_text(REDACT)
    ring = KeyRing(folder / "keys.json")
    keys = [ring.add("one"), ring.add("two")]
    server = serve(flower, feedback=str(folder / "records"), sample="1", redact="hiding:redact",
                   keys=str(folder / "keys.json"), pythonpath=str(folder))  # fmt: skip
    with httpx.Client(base_url=server.url, timeout=30, trust_env=False) as client:
        client.headers["Authorization"] = f"Bearer {keys[0]}"
        yield client, folder / "records", keys


def asked(client, *seeds):
    inputs = [json.loads(row(seed)) for seed in seeds]
    answer = client.post("/v1/models/flower/predict", json={"inputs": inputs if len(inputs) > 1 else inputs[0]})
    assert answer.status_code == 200, answer.text
    answers = answer.json() if len(inputs) > 1 else [answer.json()]
    return answer.headers["x-request-id"], [each[0]["label"] for each in answers]


def records(folder, name):
    return [found for found in map(json.loads, read(folder)) if found["id"] == name]


def count(client, outcome):
    series = f'metroline_feedback_total{{model="flower",outcome="{outcome}"'
    lines = [line for line in client.get("/metrics").text.splitlines() if line.startswith(series)]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def test_kept_and_compared_with_the_answer(kept):
    client, folder, _ = kept
    name, (first, second) = asked(client, 1, 2)
    other = next(label for label in LABELS if label != second)
    for item, label in enumerate((first, other)):
        answer = client.post("/v1/feedback", json={"id": name, "item": item, "label": label})
        assert (answer.status_code, answer.json()["kept"]) == (200, True)
    assert client.post("/v1/feedback", json={"id": name, "score": 0.5, "text": "hm"}).status_code == 200
    assert client.post("/v1/feedback", json={"id": name, "label": first}).status_code == 200  # again: it was counted
    sample, *said = records(folder, name)
    assert [each["label"] for each in said if "label" in each] == [first, other, first]
    assert said[2]["score"] == 0.5
    assert sample["caller"] == "one"
    assert [output[0]["label"] for output in sample["outputs"]] == [first, second]
    assert [count(client, outcome) for outcome in ("right", "wrong", "late", "other")] == [1, 1, 1, 1]


def test_redacted(kept):
    client, folder, _ = kept
    name, _ = asked(client, 3)
    (sample,) = records(folder, name)
    assert set(sample["inputs"][0]) == set(json.loads(row(3))) - {"city"}
    for text in ("forget me", "fail"):
        answer = client.post("/v1/feedback", json={"id": name, "text": text})
        assert (answer.status_code, answer.json()["kept"]) == (200, False)
    assert len(records(folder, name)) == 1


@pytest.mark.parametrize(("body", "status", "told"), BAD)
def test_bad_feedback(kept, body, status, told):
    content = body if isinstance(body, str) else json.dumps(body)
    answer = kept[0].post("/v1/feedback", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert told in answer.json()["error"]["message"]


def test_keys(kept):
    client, _, keys = kept
    name, (label,) = asked(client, 4)
    body = {"id": name, "label": label}
    assert client.post("/v1/feedback", json=body, headers={"Authorization": ""}).status_code == 401
    answer = client.post("/v1/feedback", json=body, headers={"Authorization": f"Bearer {keys[1]}"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unknown_request")
    assert client.post("/v1/feedback", json=body).status_code == 200


def test_off_by_default(several):
    with httpx.Client(base_url=several.url, trust_env=False) as client:
        answer = client.post("/v1/feedback", json={"id": "a", "score": 1})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "feedback_off")
