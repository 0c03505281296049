"""Gates: their syntax, their comparisons, their table, and the names that they may use."""

import math
from typing import Any

import pytest

from base.errors import MetrolineError
from base.files import read_json
from pipelines.paths import Paths
from pipelines.recipe import gates
from pipelines.tasks.language_modelling.task import Task

VALUES = gates.measured(
    {
        "test": {"loss": 3.0, "bits_per_byte": 1.4},
        "baselines": {"bigram_bits_per_byte": 2.4, "xz_bits_per_byte": 2.1, "weakest_bits_per_byte": 2.4},
        "groups": {"sex=woman": {"accuracy": 0.9}},
        "recipe": "speeches",
    },
    {"onnx": {"max_abs": 2e-6, "cases": [{"batch": 1}]}, "int8": {"loss_delta": 0.004}},
)


METRICS = {
    "primary": {"metric": "test.bits_per_byte", "better": "lower", "floor": "baselines.weakest_bits_per_byte"},
}


@pytest.mark.parametrize("metrics", [{}, {"primary": None}, {"primary": {"metric": "test.loss"}}])
def test_metrics_without_a_primary_one_are_told(metrics: dict[str, Any]) -> None:
    with pytest.raises(MetrolineError, match="names no primary metric"):
        gates.floor(metrics)


def test_a_higher_value_may_be_the_better_one() -> None:
    primary = {"metric": "test.accuracy", "better": "higher", "floor": "baselines.majority_accuracy"}
    assert gates.floor({"primary": primary}) == "test.accuracy > baselines.majority_accuracy"


def test_values_are_flat_and_numeric() -> None:
    assert VALUES["test.loss"] == 3.0
    assert VALUES["parity.onnx.max_abs"] == 2e-6
    assert VALUES["int8.loss_delta"] == VALUES["parity.int8.loss_delta"] == 0.004
    assert "recipe" not in VALUES
    assert "parity.onnx.cases" not in VALUES


@pytest.mark.parametrize(
    ("gate", "passed"),
    [
        ("test.bits_per_byte <= 1.50", True),
        ("test.bits_per_byte<=1.4", True),
        ("test.bits_per_byte < 1.4", False),
        ("test.loss >= 3", True),
        ("groups.sex=woman.accuracy >= 0.85", True),
        ("test.loss > 3", False),
        ("parity.onnx.max_abs <= 1e-6", False),
        ("int8.loss_delta <= +.01", True),
        ("test.bits_per_byte < baselines.xz_bits_per_byte", True),
        ("baselines.xz_bits_per_byte > baselines.bigram_bits_per_byte", False),
    ],
)
def test_a_gate_compares(gate: str, passed: bool) -> None:
    [result] = gates.check([gate], VALUES)
    assert result.passed is passed


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("comparison", ["<=", ">=", "<", ">"])
def test_a_value_that_is_not_finite_passes_no_gate(value: float, comparison: str) -> None:
    assert not gates.check([f"test.loss {comparison} 3"], {"test.loss": value})[0].passed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "test.loss",
        "test.loss = 3",
        "test.loss == 3",
        "3 <= test.loss",
        "a <= 1; b",
        "a <= b <= c",
        "a <= 1e",
        "a. <= 1",
    ],
)
def test_syntax_errors_show_the_gate_and_the_form(text: str) -> None:
    with pytest.raises(MetrolineError, match="is not a gate") as error:
        gates.Gate.parse(text)
    assert repr(text) in str(error.value)
    assert "METRIC <= BOUND" in str(error.value)


def test_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(MetrolineError, match=r"called test\.bits_per_bite \(did you mean test\.bits_per_byte\?\)"):
        gates.check(["test.bits_per_bite <= 1"], VALUES)


def test_unknown_bound_names_the_nearest() -> None:
    with pytest.raises(MetrolineError, match=r"did you mean baselines\.xz_bits_per_byte\?"):
        gates.check(["test.bits_per_byte <= baselines.xz_bits"], VALUES)


def test_unknown_metric_without_a_near_one_lists_what_there_is() -> None:
    with pytest.raises(MetrolineError, match=r"there are: a\.b"):
        gates.check(["zzzzz <= 1"], {"a.b": 1.0})


def test_a_failed_gate_stops_with_a_table_of_all() -> None:
    with pytest.raises(MetrolineError) as error:
        gates.require(["test.loss <= 2", "test.bits_per_byte <= 1.5", gates.floor(METRICS)], VALUES)
    text = str(error.value)
    assert "1 of 3 gates failed" in text
    assert "FAILED  test.loss           3    <= 2" in text
    assert "passed  test.bits_per_byte  1.4  < 2.4 (baselines.weakest_bits_per_byte)" in text


def test_gates_that_pass_are_returned() -> None:
    assert [result.passed for result in gates.require([gates.floor(METRICS)], VALUES)] == [True]


def test_a_gate_prints_as_it_was_written() -> None:
    assert str(gates.Gate.parse("test.bits_per_byte  <=1.5")) == "test.bits_per_byte <= 1.5"


@pytest.mark.parametrize("name", ["groups.1860.loss", "parity.pt2.max_abs", "test.bits_per_byte", "int8.loss_delta"])
def test_names_that_a_recipe_may_use(name: str) -> None:
    assert gates.known_metric(name, Task.measured)


def test_a_real_line_measures_every_promised_name(exported: Paths) -> None:
    metrics, parity = (read_json(path) for path in (exported.metrics, exported.bundle / "parity.json"))
    values = gates.measured(metrics, parity)
    assert set(Task.measured) <= set(values)
    assert all(gates.known_metric(name, Task.measured) for name in values)
