"""Cross-entropy, mean squared error and hinge: PyTorch's, and our `linear_cross_entropy`, against NumPy's."""

import importlib
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kernels import linear_cross_entropy
from tests.oracles import layers
from tests.oracles import losses as oracle
from tests.oracles.against_torch import compare, each_dtype
from tests.oracles.finite_differences import check_backward

fused = importlib.import_module("kernels.cross_entropy.linear_cross_entropy")  # not the function of that name

ROWS = {
    "rows": (7, 5, [0]),
    "two classes": (4, 2, []),
    "one class": (3, 1, []),  # the loss is 0 whatever the logits
    "one row": (1, 6, []),
    "all but one ignored": (4, 3, [0, 1, 3]),
}
each_rows = pytest.mark.parametrize("rows", ROWS)
each_smoothing = pytest.mark.parametrize("smoothing", [0.0, 0.1])


def make(rows, scale=2.0):
    count, classes, ignored = ROWS[rows]
    random = np.random.default_rng(0)
    targets = random.integers(0, classes, size=count)
    targets[ignored] = oracle.IGNORE
    return random.normal(size=(count, classes), scale=scale), targets


@each_dtype
@each_rows
@each_smoothing
@pytest.mark.parametrize("scale", [2.0, 300.0])
def test_cross_entropy(rows, smoothing, scale, dtype):
    logits, targets = make(rows, scale)
    compare(
        lambda logits, targets: F.cross_entropy(logits, targets, label_smoothing=smoothing),
        partial(oracle.cross_entropy, smoothing=smoothing),
        partial(oracle.cross_entropy_backward, smoothing=smoothing),
        {"logits": logits, "targets": targets},
        dtype,
    )


def head(features, weight, targets, **options):
    return oracle.cross_entropy(layers.linear(features, weight), targets, **options)


def head_backward(grad, features, weight, targets, **options):
    logits = layers.linear(features, weight)
    to_logits = oracle.cross_entropy_backward(grad, logits, targets, **options)["logits"]
    found = layers.linear_backward(to_logits, features, weight)
    return {"features": found["x"], "weight": found["weight"]}


HEADS = {
    "some": (37, 5, 11, [0, 30]),
    "all ignored": (6, 3, 4, range(6)),
    "one": (1, 1, 2, []),
    "none": (0, 3, 4, []),
}


@each_smoothing
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("whole", [False, True], ids=["chunks", "whole"])
@pytest.mark.parametrize("name", HEADS)
def test_our_linear_cross_entropy(name, whole, weighted, smoothing, monkeypatch):
    if not whole:
        monkeypatch.setattr(fused, "_CHUNK_ELEMENTS", -1)  # 16 rows at once
    count, width, vocabulary, ignored = HEADS[name]
    random = np.random.default_rng(1)
    targets = random.integers(0, vocabulary, size=count)
    targets[list(ignored)] = oracle.IGNORE
    inputs = {
        "features": random.normal(size=(count, width)),
        "weight": random.normal(size=(vocabulary, width)),
        "targets": targets,
    }
    weights = random.uniform(size=count).astype(np.float32) if weighted else None
    options = {"smoothing": smoothing, "weights": weights}

    def ours(features, weight, targets):
        factors = None if weights is None else torch.from_numpy(weights)
        return linear_cross_entropy(features, weight, targets, token_weights=factors, label_smoothing=smoothing)

    compare(ours, partial(head, **options), partial(head_backward, **options), inputs, torch.float32, tolerance=2e-6)


@each_dtype
@pytest.mark.parametrize("shape", [(5, 3), (1,), (2, 1, 4)])
def test_mean_squared_error(shape, dtype):
    random = np.random.default_rng(0)
    inputs = {"x": random.normal(size=shape), "target": random.normal(size=shape)}
    compare(
        lambda x, target: F.mse_loss(x, target),
        oracle.mean_squared_error,
        oracle.mean_squared_error_backward,
        inputs,
        dtype,
    )


@each_dtype
def test_hinge(dtype):
    sign = np.where(np.random.default_rng(0).random(9) < 0.5, -1.0, 1.0)
    score = np.random.default_rng(1).normal(scale=2, size=9)
    score[:2] = sign[:2]  # on the margin

    def theirs(score):
        return torch.relu(1 - torch.tensor(sign, dtype=dtype) * score).mean()

    compare(
        theirs, partial(oracle.hinge, sign=sign), partial(oracle.hinge_backward, sign=sign), {"score": score}, dtype
    )


@each_dtype
@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("shape", [(6, 4), (1, 2), (3, 1)])
def test_multiclass_hinge(shape, power, dtype):
    random = np.random.default_rng(2)
    inputs = {"scores": random.normal(size=shape), "targets": random.integers(0, shape[1], size=shape[0])}
    compare(
        lambda scores, targets: F.multi_margin_loss(scores, targets, p=power),
        partial(oracle.multiclass_hinge, power=power),
        partial(oracle.multiclass_hinge_backward, power=power),
        inputs,
        dtype,
    )


def test_by_finite_differences():
    logits, targets = make("rows")
    random = np.random.default_rng(3)
    for options in ({}, {"smoothing": 0.1, "weights": random.uniform(size=7)}):
        check_backward(
            partial(oracle.cross_entropy, **options),
            partial(oracle.cross_entropy_backward, **options),
            {"logits": logits, "targets": targets},
        )
    pair = {"x": random.normal(size=(3, 2)), "target": random.normal(size=(3, 2))}
    check_backward(oracle.mean_squared_error, oracle.mean_squared_error_backward, pair)
    sign = np.array([1.0, -1, 1, 1, -1])
    score = {"score": random.normal(size=5)}
    check_backward(partial(oracle.hinge, sign=sign), partial(oracle.hinge_backward, sign=sign), score)
    rows = {"scores": random.normal(size=(4, 3)), "targets": np.array([0, 2, 1, 1])}
    check_backward(oracle.multiclass_hinge, oracle.multiclass_hinge_backward, rows)
