"""/v1/models/NAME/predict: curl's raw bytes, JSON in Hugging Face's words, and its own client."""

import base64
import gzip
import json
import time

import httpx
import numpy as np
import pytest
from huggingface_hub import InferenceClient

from data import golden
from data.signature import Signature
from serving.routes.predict import QUICK
from tests.serving.forward_bundles import FLOWER, MOOD, PRICE, SHAPES, expected, picture, row, text
from tests.serving.web.more_bundles import masks

JSON = {"Content-Type": "application/json"}
NUMBER = {"age": 31.5, "income": 900, "city": "Ulm"}


@pytest.fixture(scope="module")
def client(several):
    with httpx.Client(base_url=several.url, timeout=30, trust_env=False) as made:
        yield made


def predict(client, model, **request):
    answer = client.post(f"/v1/models/{model}/predict", **request)
    assert answer.status_code == 200, answer.text
    return answer.json()


def scores(answer, labels):
    """In the signature's order; the answer is sorted by score."""
    assert [each["score"] for each in answer] == sorted((each["score"] for each in answer), reverse=True)
    found = {each["label"]: each["score"] for each in answer}
    return [found[label] for label in labels]


def test_the_bytes_of_an_image_as_curl_sends_them(client, shapes):
    raw = picture(3, "JPEG", (50, 40))
    wanted = expected(shapes, SHAPES, (raw,))[0]
    for kind in ("application/x-www-form-urlencoded", "image/jpeg", "application/octet-stream"):
        answer = predict(client, "shapes", content=raw, headers={"Content-Type": kind})
        np.testing.assert_allclose(scores(answer, SHAPES.outputs[0].labels), wanted, atol=1e-6)
    packed = {"Content-Type": "image/jpeg", "Content-Encoding": "gzip"}
    assert predict(client, "shapes", content=gzip.compress(raw), headers=packed) == answer


def test_one_item_a_batch_and_a_table(client, flower):
    rows = [json.loads(row(seed)) for seed in range(5)]
    wanted = [expected(flower, FLOWER, (row(seed),))[0] for seed in range(5)]
    answers = predict(client, "flower", json={"inputs": rows})
    labels = FLOWER.outputs[0].labels
    np.testing.assert_allclose([scores(each, labels) for each in answers], wanted, atol=1e-6)
    assert predict(client, "flower", json={"inputs": rows[2]}) == answers[2]
    assert predict(client, "flower", json={"inputs": rows[2], "parameters": {"top_k": 1}}) == answers[2][:1]
    columns = {name: [each[name] for each in rows] for name in rows[0]}
    likeliest = [labels[int(each.argmax())] for each in wanted]
    assert predict(client, "flower", json={"table": columns}) == likeliest
    assert predict(client, "flower", json={"inputs": {"data": columns}}) == likeliest


def test_numbers_and_vectors(client):
    answer = predict(client, "price", json={"inputs": NUMBER})
    assert list(answer) == ["price"]
    assert 0 < answer["price"] < 1e6
    one, two = predict(client, "vector", json={"inputs": ["a", "the people"]})
    assert len(one) == len(two) == 4
    assert predict(client, "vector", json={"inputs": "a"}) == one


def test_the_client_of_hugging_face(several, client, flower, shapes, mood, tmp_path):
    """`model` may be an address; it is asked as it is."""

    def ask(name):
        return InferenceClient(model=f"{several.url}/v1/models/{name}/predict")

    path = tmp_path / "picture.png"
    path.write_bytes(picture(1))
    wanted = expected(shapes, SHAPES, (picture(1),))[0]
    found = ask("shapes").image_classification(path)
    assert [each.label for each in found] == [SHAPES.outputs[0].labels[i] for i in np.argsort(-wanted)]
    assert found[0].score == pytest.approx(float(wanted.max()), abs=1e-6)
    assert len(ask("shapes").image_classification(path, top_k=2)) == 2  # goes as base64 in JSON

    wanted = expected(mood, MOOD, (text(0),))[0]
    found = ask("mood").text_classification(text(0).decode())
    assert (found[0].label, len(found)) == (MOOD.outputs[0].labels[int(wanted.argmax())], 2)
    assert found[0].score == pytest.approx(float(wanted.max()), abs=1e-6)

    table = {"age": [31.5, 20], "income": ["900", "1200"], "city": ["Ulm", "Bonn"]}
    rows = [json.dumps(dict(zip(table, each, strict=True))).encode() for each in zip(*table.values(), strict=True)]
    wanted = [FLOWER.outputs[0].labels[int(expected(flower, FLOWER, (each,))[0].argmax())] for each in rows]
    assert ask("flower").tabular_classification(table) == wanted
    # its tabular_regression knows no address (2.4): what it would send
    prices = predict(client, "price", json={"table": table})
    assert prices == [predict(client, "price", json={"inputs": json.loads(each)})["price"] for each in rows]
    assert ask("vector").feature_extraction("a").tolist() == pytest.approx(
        predict(client, "vector", json={"inputs": "a"}), abs=1e-7
    )


@pytest.mark.parametrize(("model", "signature"), [("flower", FLOWER), ("shapes", SHAPES), ("mood", MOOD)])
def test_golden_items_through_http(client, request, model, signature):
    """As the release asks them."""
    for item in golden.load(request.getfixturevalue(model), signature):
        body, kind = golden.request(signature, item)
        answer = client.post(f"/v1/models/{model}/predict", content=body, headers={"Content-Type": kind})
        assert golden.compare(signature, item, golden.answers(signature, answer.json())) is None


GOOD = json.dumps({"inputs": NUMBER}).encode()
PNG = picture(0)
BAD = {
    "no JSON": ("flower", b"{", JSON, 400, "not valid JSON"),
    "not UTF-8": ("flower", b'{"inputs": "\xff"}', JSON, 400, "not valid JSON"),
    "nested too deep": ("flower", b'{"inputs":' + b"[" * 100_000, JSON, 400, ""),
    "a list": ("flower", b"[1]", JSON, 400, 'Send a JSON object, {"inputs": ...}'),
    "an empty body": ("flower", b"", JSON, 400, "not valid JSON"),
    "no inputs": ("flower", b"{}", JSON, 400, 'Send {"inputs": ...}'),
    "no items": ("flower", b'{"inputs": []}', JSON, 400, "Send at least one"),
    "a key that is wrong": ("flower", b'{"input": {}}', JSON, 400, "did you mean inputs?"),
    "a parameter that is wrong": ("flower", b'{"inputs": {}, "parameters": {"topk": 1}}', JSON, 400, "mean top_k?"),
    "top_k of nought": ("flower", b'{"inputs": {}, "parameters": {"top_k": 0}}', JSON, 400, "from 1 up"),
    "raw scores": ("flower", b'{"inputs": {}, "parameters": {"function_to_apply": "none"}}', JSON, 400, "leave"),
    "an unknown column": ("flower", json.dumps({"inputs": NUMBER | {"hight": 1}}).encode(), JSON, 400,
                          "unknown column"),
    "a column too few": ("flower", b'{"inputs": {"age": 1, "city": "Ulm"}}', JSON, 400, "no value for"),
    "a column that is misspelt": ("flower", b'{"inputs": {"age": 1, "city": "Ulm", "incom": 2}}', JSON, 400,
                                  "did you mean incom"),
    "NaN where there was none": ("flower", b'{"inputs": {"age": 1, "city": "Ulm", "income": NaN}}', JSON, 400,
                                "income"),
    "infinity": ("flower", b'{"inputs": {"age": 1, "city": "Ulm", "income": 1e999}}', JSON, 400, "not finite"),
    "a word for a number": ("flower", b'{"inputs": {"age": "old", "city": "a", "income": 1}}', JSON, 400,
                            "is not a number"),
    "the second item": ("flower", json.dumps({"inputs": [NUMBER, 7]}).encode(), JSON, 400, "Item 1: "),
    "columns of two lengths": ("flower", b'{"table": {"age": [1], "city": []}}', JSON, 400, "not equally many"),
    "a table for an image": ("shapes", b'{"table": {"age": [1]}}', JSON, 400, "takes no table"),
    "a row for a text": ("mood", json.dumps({"inputs": NUMBER}).encode(), JSON, 400, "text is a string"),
    "an empty text": ("mood", b'{"inputs": ""}', JSON, 400, "empty"),
    "a text too long": ("mood", json.dumps({"inputs": "xyz " * 60}).encode(), JSON, 400, "more than 100"),
    "an empty image": ("shapes", b"", {"Content-Type": "image/png"}, 400, "The body is empty"),
    "half an image": ("shapes", PNG[: len(PNG) // 2], {"Content-Type": "image/png"}, 400, "image"),
    "no image": ("shapes", b"GIF89a" * 9, {"Content-Type": "image/gif"}, 400, "image"),
    "no base64": ("shapes", b'{"inputs": "???"}', JSON, 400, "base64"),
    "too many pixels": ("shapes", picture(1, "PNG", (1001, 1000)), {"Content-Type": "image/png"}, 400, "pixels"),
    "a row as a form": ("flower", GOOD, {"Content-Type": "application/x-www-form-urlencoded"}, 415,
                        "Content-Type: application/json"),
    "an image as a video": ("shapes", PNG, {"Content-Type": "video/mp4"}, 415, "the image itself"),
    "a form of another page": ("shapes", PNG, {"Content-Type": "text/plain", "Origin": "https://evil.example"}, 415,
                               "its own Content-Type"),
    "a huge body": ("flower", b" " * (1 << 20) + GOOD, JSON, 413, "limit of 1048576 bytes"),
    "too many items": ("flower", json.dumps({"inputs": [NUMBER] * 300}).encode(), JSON, 400, "At most 288 items"),
    "an unknown model": ("flowers", GOOD, JSON, 404, "'flower'"),
    "a decoder": ("tiny", GOOD, JSON, 400, "/v1/completions"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_requests(client, case):
    model, body, headers, status, message = BAD[case]
    answer = client.post(f"/v1/models/{model}/predict", content=body, headers=headers)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert message in error["message"]
    assert error["type"] == "invalid_request_error"
    assert predict(client, "flower", content=GOOD, headers=JSON)


def test_large_images_are_let_in(client, shapes):
    dice = np.random.default_rng(0)
    from io import BytesIO

    from PIL import Image

    out = BytesIO()
    Image.fromarray(dice.integers(0, 256, (900, 1000, 3), dtype=np.uint8)).save(out, "PNG")
    assert len(out.getvalue()) > 2 << 20
    assert len(predict(client, "shapes", content=out.getvalue(), headers={"Content-Type": "image/png"})) == 4
    encoded = {"inputs": base64.b64encode(out.getvalue()).decode()}
    assert len(predict(client, "shapes", json=encoded)) == 4


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_text_of_a_model_that_answers_in_one_call(client, path):
    body = {"messages": [{"role": "user", "content": "a"}]} if "chat" in path else {"prompt": "a"}
    answer = client.post(path, json=body | {"model": "flower"})
    assert answer.status_code == 400
    assert "POST /v1/models/flower/predict" in answer.json()["error"]["message"]


def test_a_completion_that_names_no_model_goes_to_the_decoder(client):
    answer = client.post("/v1/completions", json={"prompt": "a", "max_tokens": 1})
    assert (answer.status_code, answer.json()["model"]) == (200, "tiny")


def test_what_models_says(client):
    found = {each["id"]: each for each in client.get("/v1/models").json()["data"]}
    assert (found["tiny"]["engine"], found["tiny"]["task"], found["tiny"]["context"]) == (
        "decode",
        "text-generation",
        64,
    )
    assert (found["flower"]["engine"], found["flower"]["task"]) == ("forward", "tabular-classification")
    assert found["shapes"]["inputs"][0]["kind"] == "image"
    assert found["shapes"]["outputs"][0]["labels"] == list(SHAPES.outputs[0].labels)
    described = {"task": PRICE.task, "engine": "forward", "inputs": found["price"]["inputs"],
                 "outputs": found["price"]["outputs"]}  # fmt: skip
    assert Signature.model_validate(described) == PRICE


def test_head_cors_and_the_description(client):
    origin = {"Origin": "https://page.example"}
    answer = client.post("/v1/models/flower/predict", content=GOOD, headers=JSON | origin)
    assert answer.headers["access-control-allow-origin"] == "https://page.example"
    assert client.head("/v1/models/flower").status_code == 200
    assert client.get("/v1/models/flower/predict").status_code == 405
    paths = client.get("/openapi.json").json()["paths"]
    body = paths["/v1/models/flower/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    one, many = body["properties"]["inputs"]["anyOf"]
    assert (many["items"], one["required"]) == (one, ["age", "income", "city"])
    assert one["properties"]["age"] == {"type": ["number", "null"], "example": 40.0}
    answers = paths["/v1/models/flower/predict"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert answers["anyOf"][0]["items"]["properties"]["label"]["enum"] == ["low", "middle", "high"]
    assert "image/*" in paths["/v1/models/shapes/predict"]["post"]["requestBody"]["content"]
    assert "/v1/models/tiny/predict" not in paths


def metric(client, series, **labels):
    found = 0.0
    for line in client.get("/metrics").text.splitlines():
        if line.startswith(series + "{") and all(f'{key}="{value}"' in line for key, value in labels.items()):
            found += float(line.rsplit(" ", 1)[1])
    return found


def test_metrics(client, flower):
    likeliest = FLOWER.outputs[0].labels[int(expected(flower, FLOWER, (json.dumps(NUMBER).encode(),))[0].argmax())]
    route = "/v1/models/{model}/predict"
    names = {
        "metroline_requests_total": {"model": "flower", "route": route, "status": "200"},
        "metroline_request_seconds_count": {"model": "flower"},
        "metroline_input_decode_seconds_count": {"model": "flower"},
        "metroline_queue_seconds_count": {"model": "flower"},
        "metroline_predictions_total": {"model": "flower", "output": "label", "label": likeliest},
        "metroline_prediction_value_count": {"model": "price", "output": "price", "name": "price"},
        "metroline_compute_seconds_count": {"model": "price"},
        "metroline_batch_size_sum": {"model": "price"},
    }
    before = {name: metric(client, name, **labels) for name, labels in names.items()}
    for _ in range(3):
        predict(client, "flower", json={"inputs": [NUMBER, NUMBER]})
        predict(client, "price", json={"inputs": [NUMBER, NUMBER]})
    after = {name: metric(client, name, **labels) - before[name] for name, labels in names.items()}
    assert after["metroline_requests_total"] == after["metroline_request_seconds_count"] == 3
    assert {after[name] for name in names if "flower" in names[name].values()} == {3, 6}
    assert after["metroline_predictions_total"] == after["metroline_prediction_value_count"] == 6
    assert 1 <= after["metroline_compute_seconds_count"] <= 6
    assert after["metroline_batch_size_sum"] == 6
    for _ in range(2):
        predict(client, "flower", json={"inputs": [NUMBER | {"age": 99}] * 250})
    assert metric(client, "metroline_drift_psi", model="flower", side="inputs", feature="age") > 0.25
    assert metric(client, "metroline_drift_psi", model="flower", side="outputs", feature="label") > 0.1


def test_the_log_says_what_was_asked(client, several):
    answer = predict(client, "flower", content=GOOD, headers=JSON | {"X-Request-Id": "seen-1"})
    assert answer
    lines = []
    for _ in range(200):  # it is written after the answer
        if lines := [json.loads(line) for line in several.log.read_text().splitlines() if '"seen-1"' in line]:
            break
        time.sleep(0.05)
    assert (lines[0]["route"], lines[0]["model"], lines[0]["items"]) == ("/v1/models/{model}/predict", "flower", 1)


def test_masks_of_many_images_are_those_of_each(serve, tmp_path):
    """So many numbers that a thread puts them into words."""
    with httpx.Client(base_url=serve(masks(tmp_path / "halves")).url, timeout=60, trust_env=False) as client:
        images = [base64.b64encode(picture(seed)).decode() for seed in range(3)]
        alone = [predict(client, "halves", json={"inputs": image}) for image in images]
        assert QUICK < 2 * 8 * 8 * 150
        assert predict(client, "halves", json={"inputs": images * 50}) == alone * 50
