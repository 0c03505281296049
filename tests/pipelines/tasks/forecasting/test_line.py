"""A small series, from rows to a bundle that serves."""

import json
import statistics
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch

from base.errors import MetrolineError
from base.files import read_json
from data import golden
from data.signature import Signature
from pipelines.evaluation import evaluate
from pipelines.exporting.stage import export
from pipelines.paths import Paths
from pipelines.recipe import kinds
from pipelines.recipe.schema import Recipe
from pipelines.tasks.forecasting import naive
from pipelines.tasks.forecasting.learner import Loss
from pipelines.tasks.forecasting.network import build, load
from pipelines.tasks.forecasting.scores import scores
from pipelines.tasks.forecasting.windows import Windows
from pipelines.training.stage import train
from serving.app.run import start
from tests.pipelines.tasks.forecasting import small_series

Line = tuple[Recipe, Paths]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    """Trained, evaluated, exported."""
    made, paths = small_series.recipe(), Paths("waves", tmp_path_factory.mktemp("waves"))
    small_series.write_raw(paths.raw)
    kinds.task("forecasting")(made).prepare(paths.raw, paths.prepared, None)
    train(made, paths)
    evaluate(made, paths)
    export(made, paths)
    return made, paths


def test_it_beats_both_naive_forecasts_and_its_quantiles_hold(line: Line) -> None:
    metrics = read_json(line[1].metrics)
    test, baselines = metrics["test"], metrics["baselines"]
    assert test["mse"] < baselines["floor_mse"] == min(baselines["repeat_last_mse"], baselines["seasonal_naive_mse"])
    assert test["mse"] < 0.2
    assert 0.65 < test["coverage"] < 0.92
    assert test["items"] == len(Windows(line[1].prepared, "test")) == 129
    assert set(metrics["groups"]) == {"channel=load", "channel=wind"}
    assert metrics["groups"]["channel=load"]["rmse"] == pytest.approx(12, abs=6)  # the noise has 10
    named = {f"test.{name}" for name in test} | {f"baselines.{name}" for name in baselines}
    assert named <= set(kinds.task("forecasting").measured)
    card = (line[1].bundle / "README.md").read_text(encoding="utf-8")
    assert f"{test['mse']:.4g}" in card
    assert "![Forecasts of the test split and what came](backtest.png)" in card
    assert (line[1].bundle / "backtest.png").read_bytes().startswith(b"\x89PNG")


def test_the_endpoint_takes_and_gives_the_datas_own_units(line: Line, tmp_path: Path) -> None:
    """Also with a gap, and with a longer history; what is no history is refused in one line."""
    bundle = line[1].bundle
    signature = Signature.load(bundle / "signature.json")
    steps = [[round(float(x), 3) for x in row] for row in small_series.values()[-60:]]
    with start(bundle, port=0, log=tmp_path / "serve.log") as server:
        server.wait_ready()

        def ask(inputs: object) -> httpx.Response:
            address = f"{server.url}/v1/models/waves/predict"
            return httpx.post(address, json={"inputs": inputs}, timeout=30, trust_env=False)

        answer = ask(steps).json()
        gaps = ask([*steps[:-5], [None, steps[-5][1]], *steps[-4:]]).json()
        both = ask([steps, steps[:-1]])
        refused = {json.dumps(wrong)[:20]: ask(wrong) for wrong in (steps[:40], [[1, 2, 3]] * 48, [["x", 1]] * 48,
                                                                    [[1, None]] * 48)}  # fmt: skip
        golden_item = golden.load(bundle, signature)[0]
        body, kind = golden.request(signature, golden_item)
        same = httpx.post(f"{server.url}/v1/models/waves/predict", content=body, headers={"Content-Type": kind},
                          timeout=30, trust_env=False)  # fmt: skip
        schema = httpx.get(f"{server.url}/openapi.json", timeout=30, trust_env=False).text
    assert set(answer) == {"load", "wind"}
    assert set(answer["load"]) == {"mean", "0.1", "0.5", "0.9"}
    assert all(len(each) == 12 for each in answer["wind"].values())
    assert 300 < statistics.mean(answer["load"]["mean"]) < 700
    assert 1 < statistics.mean(answer["wind"]["mean"]) < 5
    assert np.all(np.diff([answer["load"][level] for level in ("0.1", "0.5", "0.9")], axis=0) >= 0)
    assert gaps["load"]["mean"] != answer["load"]["mean"]
    assert both.json()[0] == answer
    assert golden.compare(signature, golden_item, golden.answers(signature, same.json())) is None
    assert '"0.9"' in schema
    for wrong, words in zip(refused.values(), ("looks back 48", "3 numbers for 2 channels", "is not a number",
                                               "no value of wind"), strict=True):  # fmt: skip
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "invalid_input")
        assert words in wrong.json()["error"]["message"]


def test_a_target_that_is_missing_has_no_weight(line: Line) -> None:
    network = load(line[0].model, Windows(line[1].prepared, "test").index, line[1].checkpoint)
    loss = Loss(network, (0.1, 0.5, 0.9)).eval()
    history, target = torch.full((1, 48, 2), 3.0), torch.full((1, 12, 2), 4.0)
    target[0, 3, 1] = float("nan")
    before = loss(history, target)
    network.zero_grad()
    before.backward()
    assert torch.isfinite(before)
    assert all(torch.isfinite(weight.grad).all() for weight in network.parameters() if weight.grad is not None)
    target[:, 4:] = float("nan")
    assert torch.isfinite(loss(history, target))


def test_the_values_are_those_of_the_definitions() -> None:
    """Against the formulas in loops; a step without a value does not count."""
    dice, levels = np.random.default_rng(0), (0.2, 0.8)
    given, wanted = np.sort(dice.normal(size=(5, 4, 3)), 2), dice.normal(size=(5, 4))
    wanted[0, 0] = np.nan
    cells = [(i, j) for i in range(5) for j in range(4) if (i, j) != (0, 0)]
    mse = sum((wanted[c] - given[c][0]) ** 2 for c in cells) / len(cells)
    loss = 0.0
    for cell in cells:
        for level, answer in zip(levels, given[cell][1:], strict=True):
            miss = wanted[cell] - answer
            loss += level * miss if miss > 0 else (level - 1) * miss
    inside = sum(given[c][1] < wanted[c] <= given[c][2] for c in cells) / len(cells)
    found = scores(given, wanted, levels)
    assert found["mse"] == pytest.approx(mse)
    assert found["quantile_loss"] == pytest.approx(loss / len(cells) / 2)
    assert found["coverage"] == pytest.approx(inside)


def test_naive_forecasts() -> None:
    history = np.arange(10, dtype=np.float32).reshape(1, 10, 1)
    assert naive.repeat_last(history, 3).ravel().tolist() == [9, 9, 9]
    assert naive.seasonal(history, 7, 4).ravel().tolist() == [6, 7, 8, 9, 6, 7, 8]
    assert naive.seasonal(history, 2, 50).ravel().tolist() == [0, 1]


def test_a_model_that_forecasts_nothing(line: Line) -> None:
    index = Windows(line[1].prepared, "test").index
    with pytest.raises(MetrolineError, match=r"model.kind: mlp forecasts no series"):
        build(small_series.recipe(model={"kind": "mlp"}).model, index, torch.Generator())
    with pytest.raises(MetrolineError, match=r"longer than data.context"):
        build(small_series.recipe(model={"kind": "patchtst", "patch": 64}).model, index, torch.Generator())
