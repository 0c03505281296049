"""How `benchmarks.train_speed` judges its three runs."""

import json
import math

import pytest

from benchmarks._training import ROOT, project
from benchmarks.train_speed import judged
from pipelines.recipe.load import load as load_recipe

PLAIN = {"seconds": 60.0, "valid_loss": 1.885, "parameters": 8e5}


def runs(*seconds: float, parameters: float = 4e5) -> list[dict[str, float]]:
    return [
        {"seconds": each, "valid_loss": 1.87 if math.isfinite(each) else 1.9, "parameters": parameters}
        for each in seconds
    ]


@pytest.mark.parametrize(
    ("seconds", "value", "ok"),
    [
        ((6, 9, 7), 7, True),
        ((6, math.inf, 9), 9, True),
        ((11, 6, 12), 11, False),
        ((6, math.inf, math.inf), None, False),
    ],
)
def test_the_median_counts_and_a_run_that_misses_takes_for_ever(seconds, value, ok):
    found = judged(runs(*seconds), PLAIN)
    assert (found["value"], found["ok"]) == (value, ok)
    assert found["ratio"] == (None if value is None else round(value / 60, 4))
    json.dumps(found, allow_nan=False)


def test_a_large_model_does_not_count():
    assert judged(runs(6, 6, 6, parameters=2e6), PLAIN)["ok"] is False


def test_a_project_differs_from_the_recipe_in_its_seed_alone(tmp_path):
    (tmp_path / "prepared").mkdir()
    given = load_recipe("shakespeare", ROOT)
    made = load_recipe("shakespeare", project(tmp_path, "seeded", seed=3).root)
    assert made.train.seed == 3 != given.train.seed
    assert made.model_copy(update={"train": made.train.model_copy(update={"seed": given.train.seed})}) == given
    assert load_recipe("shakespeare", project(tmp_path, "plain").root) == given
