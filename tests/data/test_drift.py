"""The drift reference, and the index that compares a window with it."""

import numpy as np
import pytest

from data import drift
from data.signature import Column, LabelsOutput, NumbersOutput, Signature, TableInput

SIGNATURE = Signature(
    task="tabular-classification",
    inputs=(TableInput(name="row", columns=(Column(name="age", kind="number", missing=True),
                                            Column(name="city", kind="category", categories=("Ulm", "Bonn")))),),
    outputs=(LabelsOutput(name="label", labels=("no", "yes")), NumbersOutput(name="price", names=("price",))),
)  # fmt: skip


def rows(seed, count=2000, shift=0.0, yes=0.3):
    dice = np.random.default_rng(seed)
    age = dice.normal(40 + shift, 10, count)
    age[dice.random(count) < 0.1] = np.nan
    inputs = [(np.array([a, c], np.float32),) for a, c in zip(age, dice.integers(0, 3, count), strict=True)]
    likely = dice.random(count) < yes
    outputs = [(np.array([1 - y, y], np.float32), np.array([10 * y + 1])) for y in likely]
    return inputs, outputs


def scores(reference, inputs, outputs):
    both = [drift.features(SIGNATURE, one, other) for one, other in zip(inputs, outputs, strict=True)]
    return {
        name: drift.psi(kept["shares"], drift.shares(kept, [pair[side][name] for pair in both]))
        for side, part in enumerate(("inputs", "outputs"))
        for name, kept in reference[part].items()
    }


def test_the_index_by_hand():
    assert drift.psi([0.5, 0.5], [0.5, 0.5]) == 0
    assert drift.psi([0.5, 0.5], [0.8, 0.2]) == pytest.approx(0.3 * np.log(1.6) - 0.3 * np.log(0.4))
    assert drift.psi([1.0, 0.0], [0.0, 1.0]) == pytest.approx(2 * 0.9999 * np.log(1e4), rel=1e-6)


def test_shares():
    assert drift.shares({"edges": [1.0, 2.0]}, [0, 1, 1.5, 2, np.nan]) == [0.2, 0.4, 0.2, 0.2]
    assert drift.shares({"values": [0, 3]}, [0, 0, 3, 7, np.nan]) == [0.4, 0.2, 0.2, 0.2]


def test_a_window_like_the_reference_and_one_that_moved():
    reference = drift.reference(SIGNATURE, *rows(0))
    assert set(reference["inputs"]) == {"age", "city"}
    assert set(reference["outputs"]) == {"label", "price"}
    assert sum(reference["inputs"]["age"]["shares"]) == pytest.approx(1)
    assert reference["inputs"]["age"]["shares"][-1] == pytest.approx(0.1, abs=0.03)  # missing
    assert all(score < 0.05 for score in scores(reference, *rows(1, 1000)).values())
    moved = scores(reference, *rows(2, 1000, shift=10, yes=0.8))
    assert moved["age"] > 0.25
    assert moved["city"] < 0.05
    assert moved["label"] > 0.25
    assert moved["price"] > 0.25
