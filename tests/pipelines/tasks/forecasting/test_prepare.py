"""Rows → a series with borders: nothing of valid or test in what train learns or is scaled by."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from base.errors import MetrolineError
from base.files import read_object
from pipelines.recipe import kinds
from pipelines.recipe.consistency import problems
from pipelines.tasks.forecasting.windows import Windows
from tests.pipelines.tasks.forecasting import small_series


def prepared(root: Path, lines: list[str] | None = None, head: str = "time,load,wind", **changes: Any) -> Path:
    made = small_series.recipe(**changes)
    small_series.write_raw(root / "raw", lines, head)
    kinds.task("forecasting")(made).prepare(root / "raw", root / "prepared", None)
    return root / "prepared"


def test_no_target_is_in_two_splits_and_every_window_is_there(tmp_path: Path) -> None:
    folder = prepared(tmp_path, small_series.rows(missing=(), left_out=()))
    reach = {}
    for split in ("train", "valid", "test"):
        windows = Windows(folder, split)
        reach[split] = set((windows.origins[:, None] + np.arange(windows.horizon)).ravel().tolist())
        assert len(windows) == windows.index["splits"][split]["windows"]
    assert reach["train"] == set(range(48, 420))
    assert reach["valid"] == set(range(420, 560))
    assert reach["test"] == set(range(560, 700))
    assert len(Windows(folder, "test")) == 140 - 12 + 1  # the last window too
    first = Windows(folder, "test").inputs(np.array([0]))[0]
    np.testing.assert_allclose(first, small_series.values()[560 - 48 : 560], atol=0.01)


def test_a_gap_is_left_out_of_all_splits(tmp_path: Path) -> None:
    folder = prepared(tmp_path, split={"method": "time", "by": "time", "valid": 0.2, "test": 0.2, "gap": 5})
    assert Windows(folder, "valid").origins[0] == 425
    assert Windows(folder, "test").origins[0] == 565


def test_scales_are_those_of_train_alone(tmp_path: Path) -> None:
    lines = small_series.rows()
    changed = lines[:420] + [line.split(",")[0] + ",9e6,-9e6" for line in lines[420:]]
    found = [read_object(prepared(tmp_path / name, given) / "index.json")["fitted"]
             for name, given in (("a", lines[:]), ("b", changed))]  # fmt: skip
    assert found[0]["season"] == 24
    kept = 420 + 2  # two rows are missing before it
    np.testing.assert_allclose(found[0]["mean"][0], small_series.values()[:kept, 0].mean(), rtol=1e-3)
    assert np.abs(found[1]["mean"][0]) < 1e5  # only steps 420 and 421 of train moved


def test_rows_in_any_order_are_the_same_series(tmp_path: Path) -> None:
    lines = small_series.rows()
    one, other = prepared(tmp_path / "a", lines), prepared(tmp_path / "b", lines[::-1])
    assert read_object(one / "index.json")["data_hash"] == read_object(other / "index.json")["data_hash"]
    series = np.load(one / "series.npy")
    assert np.isnan(series[[300, 301]]).all()
    assert np.isnan(series[80]).tolist() == [False, True]


DAY = small_series.rows()


@pytest.mark.parametrize(
    ("lines", "changes", "problem"),
    [
        (DAY, {"data": {"kind": "series", "context": 48}}, r"waves.csv:301 and waves.csv:302 are 3h apart, not 1h"),
        ([*DAY, DAY[5]], {}, "have the same time 2024-01-01 05:00:00"),
        ([*DAY[:9], "soon,1,2", *DAY[9:]], {}, "waves.csv:11: 'soon' is no time"),
        ([*DAY[:9], ",1,2", *DAY[9:]], {}, "waves.csv:11: time has no value"),
        ([*DAY[:9], DAY[9].replace(",", ",x", 1), *DAY[10:]], {}, 'waves.csv:11: load: "x5.*" is not a number'),
        ([*DAY[:9], DAY[9] + "e99", *DAY[10:]], {}, "waves.csv:11: wind: .* is not finite"),
        (DAY[:60], {}, "has too few for 48 steps back and 12 ahead"),
        ([], {}, "there is no row"),
        (DAY, {"data": {"kind": "series", "columns": ["lod"]}}, "no column 'lod'"),
        ([line.rsplit(",", 1)[0] + "," for line in DAY], {}, "wind has no value in the train split"),
    ],
)  # fmt: skip
def test_what_is_no_series(tmp_path: Path, lines: list[str], changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(MetrolineError, match=problem):
        prepared(tmp_path, lines, **changes)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"split": {"method": "hash"}}, "split.method: a series is split by time, not by hash"),
        ({"data": {"kind": "series", "columns": ["time"]}}, "data.columns: time is split.by"),
        ({"split": {"method": "time", "by": "time", "valid": 0}}, "split.valid: quantiles are calibrated"),
        ({"gates": ["test.accuracy >= 0.9"]}, "nothing measured is called test.accuracy"),
    ],
)
def test_sections_that_contradict_each_other(changes: dict[str, Any], problem: str) -> None:
    assert any(problem in line for line in problems(small_series.recipe(**changes)))


@pytest.mark.parametrize("quantiles", [[], [0.5, 0.1], [0.1, 0.1], [0, 0.5], [0.5, 1]])
def test_quantiles_that_are_none(quantiles: list[float]) -> None:
    with pytest.raises(ValueError, match="quantiles"):
        small_series.recipe(task={"kind": "forecasting", "quantiles": quantiles})
