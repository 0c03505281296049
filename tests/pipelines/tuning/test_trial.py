"""What a trial reports: the value that its learner is judged by, and none of those that are only noted."""

import pytest

from pipelines.tuning.trial import validated

NOTED = {"valid_accuracy": 0.75, "valid_chosen": -1.0, "valid_margin": 0.2, "valid_rejected": -3.0}
"""As preference tuning notes beside its loss."""


@pytest.mark.parametrize(
    ("line", "metric", "value"),
    [
        ({"step": 8, "loss": 2.0, "valid_loss": 1.5} | NOTED, "loss", 1.5),
        ({"step": 8, "loss": 2.0, "valid_loss": 1.5, "valid_ndcg_10": 0.5}, "ndcg_10", 0.5),
        ({"step": 4, "loss": 2.0}, "loss", None),
    ],
)
def test_by_what_a_run_is_judged(line, metric, value):
    assert validated(line, metric) == value
