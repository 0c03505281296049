"""What sample traffic sends to a model that answers in one call: each kind's codec takes it."""

import base64
import json
import random

import numpy as np
import pytest

from data.codecs import decode
from data.signature import AudioInput, Column, ImageInput, SeriesInput, TableInput, TextInput, VectorInput
from serving.monitoring.sample_inputs import item, value

ROW = TableInput(
    name="row",
    columns=(
        Column(name="age", kind="number", minimum=18, maximum=80, missing=True),
        Column(name="income", kind="number", example=1000.0),
        Column(name="city", kind="category", categories=("Bonn", "Ulm")),
        Column(name="empty", kind="category"),
    ),
)
MEDIA = [
    (ImageInput(name="image", height=8, width=8, channels=1), (48, 64, 1)),
    (ImageInput(name="image", height=8, width=8), (48, 64, 3)),
    (AudioInput(name="sound", rate=8000, seconds=0.25), (2000,)),
    (AudioInput(name="sound", rate=16000, seconds=10), (16000,)),
]
VALUES = [
    (SeriesInput(name="past", context=5, channels=("a",)), (5, 1)),
    (SeriesInput(name="past", context=5, channels=("a", "b")), (5, 2)),
    (VectorInput(name="given", shape=(4,)), (4,)),
    (VectorInput(name="given", shape=(-1,), names=("x", "y")), (2,)),
]


def made(declared, seed: int = 0):
    return value(declared.model_dump(mode="json"), random.Random(seed))


@pytest.mark.parametrize(("declared", "shape"), MEDIA)
def test_files(declared, shape):
    array = decode(declared, base64.b64decode(made(declared)))
    assert array.shape == shape
    assert array.std() > 0


@pytest.mark.parametrize(("declared", "shape"), VALUES)
def test_numbers(declared, shape):
    array = decode(declared, json.dumps(made(declared)).encode())
    assert array.shape == shape
    assert np.isfinite(array).all()


def test_rows_stay_within_their_columns():
    rows = np.array([decode(ROW, json.dumps(made(ROW, seed)).encode()) for seed in range(300)])
    age, income, city, empty = rows.T
    assert 18 <= np.nanmin(age) < 30 < 70 < np.nanmax(age) <= 80
    assert 0 < np.isnan(age).sum() < 60
    assert 500 <= income.min() < income.max() <= 1500
    assert set(city) == {1, 2}
    assert set(empty) == {0}


def test_texts_fit():
    for seed in range(50):
        assert 1 <= len(made(TextInput(name="text", length=8), seed).split()) <= 2


def test_several_inputs_go_by_their_names():
    dice = random.Random(0)
    inputs = [TextInput(name="text", length=8).model_dump(mode="json"), VALUES[2][0].model_dump(mode="json")]
    assert set(item(inputs, dice)) == {"text", "given"}
    assert isinstance(item(inputs[:1], dice), str)


def test_a_text_with_a_blank_has_one():
    declared = TextInput(name="text", length=40, mask="[MASK]")
    assert {made(declared, seed).split().count("[MASK]") for seed in range(20)} == {1}
