"""The Open Inference Protocol v2, asked by Triton's own client, and bodies that no client would send."""

import json
import struct

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.serving.forward_bundles import FLOWER, MOOD, SHAPES, expected, picture, row, text

ROWS = np.array([[31.5, 900, 2], [np.nan, 1200, 1], [50, 700, 0]], np.float32)
LABELS = list(SHAPES.outputs[0].labels)


@pytest.fixture(scope="module")
def client(several):
    with triton.InferenceServerClient(several.url.removeprefix("http://")) as made:
        yield made


@pytest.fixture(scope="module")
def plain(several):
    with httpx.Client(base_url=several.url, timeout=30, trust_env=False) as made:
        yield made


def tensor(name, array, datatype, binary):
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def of_rows(flower):
    named = [{"age": None if np.isnan(a) else float(a), "income": float(i), "city": [None, "Bonn", "Ulm"][int(c)]}
             for a, i, c in ROWS]  # fmt: skip
    return np.stack([expected(flower, FLOWER, (json.dumps(each).encode(),))[0] for each in named])


def test_the_server_and_its_models(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata()["name"] == "metroline"
    assert client.is_model_ready("flower")
    assert not client.is_model_ready("flowers")
    about = client.get_model_metadata("flower")
    assert about["inputs"] == [{"name": "row", "datatype": "FP32", "shape": [-1, 3]}]
    assert about["outputs"] == [{"name": "label", "datatype": "FP32", "shape": [-1, 3]}]
    (version,) = about["versions"]
    assert client.is_model_ready("flower", version)
    assert client.get_model_metadata("flower", version) == about
    assert not client.is_model_ready("flower", "0" * 12)
    assert client.get_model_metadata("shapes")["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    assert client.get_model_metadata("vector")["outputs"] == [{"name": "vector", "datatype": "FP32", "shape": [-1, 4]}]


@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize("binary", [True, False])
def test_rows_as_numbers_and_codes(client, flower, binary, binary_out):
    rows = ROWS if binary else np.nan_to_num(ROWS, nan=40)  # JSON has no NaN
    wanted = of_rows(flower)
    found = client.infer("flower", [tensor("row", rows, "FP32", binary)], request_id="r7",
                         outputs=[triton.InferRequestedOutput("label", binary_data=binary_out)])  # fmt: skip
    if binary:
        np.testing.assert_allclose(found.as_numpy("label"), wanted, atol=1e-6)
    else:
        np.testing.assert_allclose(found.as_numpy("label")[[0, 2]], wanted[[0, 2]], atol=1e-6)
    about = found.get_response()
    assert (about["id"], about["model_name"]) == ("r7", "flower")


def test_all_outputs_and_a_version(client, flower):
    (version,) = client.get_model_metadata("flower")["versions"]
    found = client.infer("flower", [tensor("row", ROWS, "FP32", True)], model_version=version)
    np.testing.assert_allclose(found.as_numpy("label"), of_rows(flower), atol=1e-6)


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_images_as_they_are(client, shapes, compression):
    raw = [picture(1), picture(2, "JPEG", (64, 30))]
    array = np.array(raw, dtype=object)
    wanted = np.stack([expected(shapes, SHAPES, (each,))[0] for each in raw])
    found = client.infer("shapes", [tensor("image", array, "BYTES", True)], request_compression_algorithm=compression)
    np.testing.assert_allclose(found.as_numpy("label"), wanted, atol=1e-6)
    asked = [triton.InferRequestedOutput("label", binary_data=True, class_count=2)]
    classes = client.infer("shapes", [tensor("image", array, "BYTES", True)], outputs=asked).as_numpy("label")
    assert classes.shape == (2, 2)
    score, index, label = classes[0][0].decode().split(":")
    assert (int(index), label) == (int(wanted[0].argmax()), LABELS[int(wanted[0].argmax())])
    assert float(score) == pytest.approx(float(wanted[0].max()), abs=1e-6)


def test_texts_and_rows_as_json(client, mood, flower):
    raw = np.array([text(0), text(1)], dtype=object)
    found = client.infer("mood", [tensor("text", raw, "BYTES", True)]).as_numpy("label")
    np.testing.assert_allclose(found, [expected(mood, MOOD, (each,))[0] for each in raw], atol=1e-6)
    in_json = client.infer("mood", [tensor("text", raw, "BYTES", False)]).as_numpy("label")
    np.testing.assert_array_equal(in_json, found)
    rows = np.array([row(0), row(1)], dtype=object)
    found = client.infer("flower", [tensor("row", rows, "BYTES", True)]).as_numpy("label")
    np.testing.assert_allclose(found, [expected(flower, FLOWER, (each,))[0] for each in rows], atol=1e-6)


def test_an_error_reaches_the_client_in_words(client):
    with pytest.raises(InferenceServerException, match="did you mean row"):
        client.infer("flower", [tensor("rows", ROWS, "FP32", True)])
    with pytest.raises(InferenceServerException, match="'flower'"):
        client.infer("flowers", [tensor("row", ROWS, "FP32", True)])


def one(**changes):
    return {"inputs": [{"name": "row", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 0]} | changes]}


BAD = {
    "no JSON": (b"{", "not valid JSON"),
    "empty": (b"", "The body is empty"),
    "no inputs": (b"{}", 'Send {"inputs"'),
    "an input missing": (b'{"inputs": []}', "The input row is missing"),
    "another name": (one(name="raw"), "did you mean row?"),
    "another shape": (one(shape=[1, 4]), "the shape is [-1, 3]"),
    "a shape that lies": (one(shape=[2, 3]), "3 elements, but the shape [2, 3] has 6"),
    "no items": (one(shape=[0, 3], data=[]), "no items"),
    "a negative shape": (one(shape=[-1, 3]), "shape is a list of sizes"),
    "a huge shape": (one(shape=[2**30, 3]), "elements, but the shape"),
    "words": (one(data=["a", "b", "c"]), "data that is not FP32"),
    "nested data": (one(data=[[1, 2], {"a": 1}]), "data that is not FP32"),
    "a datatype that there is not": (one(datatype="FP4"), "datatype is"),
    "NaN where there was none": (one(data=[1, None, 0]), "income"),
    "infinity": (json.dumps(one(data=[1, float("inf"), 0])).encode(), "finite"),
    "no data": ({"inputs": [{"name": "row", "shape": [1, 3], "datatype": "FP32"}]}, "there is no data"),
    "a size that is not there": (one(parameters={"binary_data_size": 12}), "binary_data_size 12"),
    "an output that there is not": (one() | {"outputs": [{"name": "labels"}]}, "did you mean label?"),
    "classes of nothing": (one() | {"outputs": [{"name": "label", "parameters": {"classification": -1}}]}, "classific"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_requests(plain, case):
    body, message = BAD[case]
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = plain.post("/v2/models/flower/infer", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert message in answer.json()["error"]


@pytest.mark.parametrize(
    ("behind", "size", "message"),
    [
        (b"\0" * 8, 8, "8 bytes, but FP32 [1, 3] has 12"),
        (b"\0" * 16, 12, "4 bytes behind the JSON belong to no input"),
        (struct.pack("<3f", 1, float("inf"), 0), 12, "finite"),
    ],
)
def test_bad_binary(plain, behind, size, message):
    head = json.dumps({"inputs": [{"name": "row", "shape": [1, 3], "datatype": "FP32",
                                   "parameters": {"binary_data_size": size}}]}).encode()  # fmt: skip
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    answer = plain.post("/v2/models/flower/infer", content=head + behind, headers=headers)
    assert answer.status_code == 400
    assert message in answer.json()["error"]
    headers["Inference-Header-Content-Length"] = "99999"
    answer = plain.post("/v2/models/flower/infer", content=head + behind, headers=headers)
    assert "Inference-Header-Content-Length is '99999'" in answer.json()["error"]


@pytest.mark.parametrize("raw", [b"\0", struct.pack("<I", 9) + b"short"])
def test_bytes_that_end_too_soon(plain, raw):
    head = json.dumps({"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES",
                                   "parameters": {"binary_data_size": len(raw)}}]}).encode()  # fmt: skip
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    answer = plain.post("/v2/models/shapes/infer", content=head + raw, headers=headers)
    assert answer.status_code == 400
    assert "BYTES that end" in answer.text or "longer than what is left" in answer.text


def test_a_decoder_and_another_content_type(plain):
    answer = plain.post("/v2/models/tiny/infer", json=one())
    assert (answer.status_code, "/v1/completions" in answer.text) == (400, True)
    answer = plain.post("/v2/models/flower/infer", content=b"a", headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415
    of_a_page = plain.post("/v2/models/flower/infer", content=b"{}", headers={"Origin": "https://evil.example"})
    assert of_a_page.status_code == 415
    assert plain.head("/v2").status_code == 200
    assert plain.get("/v2/models/flower/infer").status_code == 405
