"""The `train` section: what it refuses, and what it says."""

import pytest
from pydantic import ValidationError

from pipelines.recipe.train_section import TrainConfig


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"steps": 0}, "greater than or equal to 1"),
        ({"steps": -5}, "greater than or equal to 1"),
        ({"steps": "many"}, "valid integer"),
        ({"batch": 0}, "greater than or equal to 1"),
        ({"sequence": 1}, "greater than or equal to 2"),
        ({"micro_batch": 0}, "greater than or equal to 1"),
        ({"batch": 12, "micro_batch": 5}, "batch 12 is not a multiple of micro_batch 5"),
        ({"lr": 0}, "greater than 0"),
        ({"lr": -0.1}, "greater than 0"),
        ({"adam_lr": -1}, "greater than 0"),
        ({"optimizer": "adam"}, "'muon', 'adamw', 'lamb', 'sgd', 'rmsprop' or 'adagrad'"),
        ({"schedule": "cosin"}, "'cosine', 'linear', 'wsd' or 'constant'"),
        ({"betas": [0.9, 1.0]}, "betas must be in [0, 1)"),
        ({"betas": [0.9]}, "betas"),
        ({"eps": 0}, "greater than 0"),
        ({"momentum": 1}, "less than 1"),
        ({"weight_decay": -0.1}, "greater than or equal to 0"),
        ({"clip": -1}, "greater than or equal to 0"),
        ({"label_smoothing": 1}, "less than 1"),
        ({"ema": 1}, "less than 1"),
        ({"warmup": 10, "steps": 10}, "warmup (10) must be shorter than steps (10)"),
        ({"warmup": -1}, "greater than or equal to 0"),
        ({"decay": 0}, "greater than 0"),
        ({"final_lr": 2}, "less than or equal to 1"),
        ({"evaluate_every": 0}, "greater than or equal to 1"),
        ({"save_every": 0}, "greater than or equal to 1"),
        ({"keep": 0}, "greater than or equal to 1"),
        ({"early_stopping": -1}, "greater than or equal to 0"),
        ({"precision": "fp8"}, "'auto', 'fp32', 'bf16' or 'fp16'"),
        ({"compile": True}, "'auto', 'on' or 'off'"),
        ({"distributed": "zero"}, "'ddp' or 'fsdp'"),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"learning_rate": 1}, "Extra inputs are not permitted"),
        ({"steps": 5, "phases": [{"steps": 5, "batch": 8, "sequence": 64}]}, "all of the 5 there are"),
        ({"phases": [{"steps": 5, "batch": 8, "sequence": 48}]}, "must divide sequence (128)"),
        ({"phases": [{"steps": 5, "batch": 3, "sequence": 64}]}, "must be a multiple of it"),
    ],
)
def test_refuses(values, says):
    with pytest.raises(ValidationError) as error:
        TrainConfig.model_validate(values)
    assert says in str(error.value)


def test_defaults_are_consistent():
    config = TrainConfig()
    assert config.warmup_steps == config.steps // 20
    assert TrainConfig(steps=1).warmup_steps == 0
    assert TrainConfig(steps=1, warmup=0).warmup_steps == 0
