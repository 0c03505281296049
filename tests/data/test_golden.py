"""Golden items: written, read and compared."""

import json

import numpy as np
import pytest

from base.errors import MetrolineError
from base.files import read_json
from data import golden
from data.signature import (
    Column,
    ImageInput,
    LabelsOutput,
    NumbersOutput,
    Signature,
    TableInput,
    TextInput,
    VectorOutput,
)  # fmt: skip

LABELS = Signature(
    task="tabular-classification",
    inputs=(TableInput(name="row", shape=(1,), columns=(Column(name="age", kind="number"),)),),
    outputs=(LabelsOutput(name="label", labels=("no", "yes")),),
)
NUMBERS = LABELS.model_copy(update={"outputs": (NumbersOutput(name="price", names=("price",)),)})
MIXED = Signature(
    task="visual-question",
    inputs=(ImageInput(name="image", height=2, width=2), TextInput(name="text", length=8)),
    outputs=(VectorOutput(name="vector"), LabelsOutput(name="label", labels=("no", "yes"))),
)
ROW = (b'{"age": 3}',)


def item(tmp_path, signature, *arrays):
    golden.write(tmp_path, signature, [ROW] * len(arrays),
                 [{signature.outputs[0].name: np.array(array)} for array in arrays])  # fmt: skip
    return golden.load(tmp_path, signature)


def test_written_and_read_again(tmp_path):
    png, text = b"\x89PNG\x00\xff", "what is it? é"
    golden.write(tmp_path, MIXED, [(png, text.encode())],
                 [{"vector": np.array([0.5, -1], np.float32), "label": np.array([0.25, 0.75])}])  # fmt: skip
    assert read_json(tmp_path / "golden/golden.json") == [
        {"inputs": [{"file": "golden/0-0.png"}, text],
         "outputs": {"vector": [0.5, -1.0], "label": {"no": 0.25, "yes": 0.75}}}
    ]  # fmt: skip
    (found,) = golden.load(tmp_path, MIXED)
    assert found.inputs == (png, text.encode())
    assert golden.compare(MIXED, found, {"vector": [0.5, -1], "label": np.array([0.25, 0.75])}) is None
    body, kind = golden.request(MIXED, found)
    assert json.loads(body) == {"inputs": {"image": "iVBORwD/", "text": text}}
    assert kind == "application/json"


def test_one_image_is_sent_as_it_is(tmp_path):
    signature = MIXED.model_copy(update={"inputs": MIXED.inputs[:1]})
    golden.write(tmp_path, signature, [(b"\xff\xd8\xffrest",)], [{"vector": [1.0], "label": [0.0, 1.0]}])
    assert golden.request(signature, golden.load(tmp_path, signature)[0]) == (b"\xff\xd8\xffrest", "image/jpeg")


@pytest.mark.parametrize(
    ("got", "precision", "problem"),
    [
        ([0.4, 0.6], "fp32", None),
        ([0.40009, 0.59991], "fp32", None),
        ([{"label": "yes", "score": 0.6}, {"label": "no", "score": 0.4}], "fp32", None),
        ([0.4002, 0.5998], "fp32", "label: no: 0.4002, expected 0.4"),
        ([0.6, 0.4], "fp32", "label: no, expected yes"),
        ([{"label": "YES", "score": 0.6}, {"label": "no", "score": 0.4}], "fp32", "has YES, no, not no, yes"),
        ([float("nan"), 0.6], "fp32", "not finite"),
        ([0.6, 0.2, 0.2], "fp32", "3 numbers"),
        ("yes", "fp32", "no list of numbers"),
        ([0.45, 0.55], "int8", None),
        ([0.51, 0.49], "int8", None),  # the expected ones are close enough for it
        ([0.6, 0.4], "int8", "no: 0.6, expected 0.4"),
    ],
)  # fmt: skip
def test_labels(tmp_path, got, precision, problem):
    (expected,) = item(tmp_path, LABELS, [0.4, 0.6])
    found = golden.compare(LABELS, expected, {"label": got}, precision)
    assert found is None if problem is None else problem in found


def test_another_label_in_int8_where_the_expected_one_is_clear(tmp_path):
    (expected,) = item(tmp_path, LABELS, [0.1, 0.9])
    assert "no, expected yes" in golden.compare(LABELS, expected, {"label": [0.6, 0.4]}, "int8")


def test_numbers_are_compared_to_their_size(tmp_path):
    small, large, zero = item(tmp_path, NUMBERS, [100.0], [200_000.0], [0.0])
    assert golden.compare(NUMBERS, small, {"price": [100.009]}) is None
    assert golden.compare(NUMBERS, small, {"price": {"price": 100.011}}).startswith("price: price: 100.011")
    assert golden.compare(NUMBERS, large, {"price": [200_019.0]}) is None
    assert golden.compare(NUMBERS, zero, {"price": [0.009]}) is None  # 1e-4 of the median
    assert golden.compare(NUMBERS, zero, {"price": [0.011]}) is not None
    assert golden.compare(NUMBERS, small, {"price": [110.0]}, "int8") is None
    assert golden.compare(NUMBERS, small, {"price": [116.0]}, "int8") is not None
    assert golden.compare(NUMBERS, small, {}) == "price: no answer"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "holds no item"),
        ("{", "does not fit"),
        ('[{"inputs": [{"age": 1}], "outputs": {}}]', "does not fit"),
        ('[{"inputs": [], "outputs": {"label": [0, 1]}}]', "does not fit"),
        ('[{"inputs": [{"age": 1}], "outputs": {"label": {"no": 0, "maybe": 1}}}]', "maybe, no, not no, yes"),
    ],
)
def test_damaged(tmp_path, text, problem):
    (tmp_path / "golden").mkdir()
    (tmp_path / "golden/golden.json").write_text(text)
    with pytest.raises(MetrolineError, match=problem):
        golden.load(tmp_path, LABELS)


def test_missing_or_outside(tmp_path):
    with pytest.raises(MetrolineError, match=r"golden\.json is missing"):
        golden.load(tmp_path, LABELS)
    golden.write(tmp_path, MIXED, [(b"\x89PNG", b"a")], [{"vector": [1.0], "label": [0.0, 1.0]}])
    path = tmp_path / "golden/golden.json"
    path.write_text(path.read_text().replace("golden/0-0.png", "golden/../../secret"))
    with pytest.raises(MetrolineError, match="is not in golden/"):
        golden.load(tmp_path, MIXED)


def test_an_answer_that_is_not_finite_is_not_stored(tmp_path):
    with pytest.raises(MetrolineError, match="not finite"):
        item(tmp_path, LABELS, [float("nan"), 1.0])
