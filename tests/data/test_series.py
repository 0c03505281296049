"""Forecasts by name, and histories that say nothing."""

import numpy as np
import pytest

from base.errors import BadItem, MetrolineError
from data import golden
from data.codecs import decode
from data.drift import output_features
from data.series import by_channel, from_channels
from data.signature import SeriesInput, SeriesOutput, Signature

HISTORY = SeriesInput(name="history", shape=(3, 2), context=3, channels=("load", "wind"), step="1h")
AHEAD = SeriesOutput(name="forecast", shape=(2, 2, 4), channels=("load", "wind"), quantiles=(0.1, 0.5, 0.9))
SIGNATURE = Signature(task="time-series-forecasting", inputs=(HISTORY,), outputs=(AHEAD,))
ARRAY = np.arange(16, dtype=np.float32).reshape(2, 2, 4) + 1


def test_by_channel_and_back() -> None:
    answer = by_channel(AHEAD, ARRAY)
    assert answer["wind"] == {"mean": [5, 13], "0.1": [6, 14], "0.5": [7, 15], "0.9": [8, 16]}
    np.testing.assert_array_equal(from_channels(AHEAD, answer), ARRAY)


def test_a_channel_without_any_value_is_refused() -> None:
    found = decode(HISTORY, b"[[1, 2], [null, 3], [null, null], [5, null]]")  # the newest three steps count
    np.testing.assert_array_equal(found, [[np.nan, 3], [np.nan, np.nan], [5, np.nan]])
    with pytest.raises(BadItem, match="no value of wind in the newest 3 steps"):
        decode(HISTORY, b"[[1, 2], [1, null], [1, null], [1, null]]")


def test_a_golden_forecast_is_compared_in_its_units_and_by_its_names() -> None:
    item = golden.Item((b"[]",), {"forecast": ARRAY.reshape(-1).tolist()}, {"forecast": 8.0})
    answer = by_channel(AHEAD, ARRAY)
    assert golden.compare(SIGNATURE, item, golden.answers(SIGNATURE, answer)) is None
    assert golden.compare(SIGNATURE, item, {"forecast": ARRAY}) is None
    answer["wind"]["0.9"][1] += 0.01
    assert "16.01, expected 16" in str(golden.compare(SIGNATURE, item, golden.answers(SIGNATURE, answer)))
    for wrong in ({"load": answer["load"]}, {"load": 1, "wind": 2}, {"load": {}, "wind": {}}):
        with pytest.raises(MetrolineError, match=r"forecast: the answer has .*, not load, wind"):
            golden.answer(AHEAD, wrong)


def test_its_drift_is_that_of_each_channels_mean() -> None:
    assert output_features(AHEAD, ARRAY) == {"load": 5.0, "wind": 9.0}
