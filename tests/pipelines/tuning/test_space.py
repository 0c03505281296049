"""What varies: read, checked against the recipe's schema, and refused in one line where it makes no sense."""

import pytest

from base.errors import MetrolineError
from pipelines.tuning import space
from tests.pipelines.training import small_runs

BAD = [
    ([], "there is nothing to search"),
    (["train.lr"], "not SECTION.KEY=KIND"),
    (["lr=uniform(0, 1)"], "not SECTION.KEY=KIND"),
    (["train.lr=uniform(0, 1"], "not SECTION.KEY=KIND"),
    (["train.lr=unifrom(0, 1)"], r"no kind 'unifrom' \(did you mean uniform"),
    (["train.lr=uniform(0.1)"], r"uniform takes \(low, high\)"),
    (["train.lr=uniform(0.1, high)"], r"uniform takes \(low, high\), numbers"),
    (["train.lr=uniform(true, 3)"], r"uniform takes \(low, high\)"),
    (["train.lr=uniform(0.1, 0.1)"], "the range must rise"),
    (["train.lr=uniform(.nan, 1)"], "the range must rise"),
    (["train.lr=uniform(0, .inf)"], "the range must rise"),
    (["train.lr=loguniform(0, 1)"], "loguniform begins above 0"),
    (["train.batch=int(1, 2.5)"], "whole numbers"),
    (["train.batch=int(1, 8, 2)"], "the step must divide 8 - 1"),
    (["train.batch=int(1, 8, 0)"], "the step must divide 8 - 1"),
    (["train.optimizer=choice(adamw)"], "two choices or more"),
    (["train.optimizer=choice(adamw, adamw)"], "two choices or more"),
    (["train.optimizer=choice(adamw, [sgd)"], "no YAML"),
    (["train.lr=uniform(0.1, 1)", "train.lr=uniform(0.1, 2)"], "train.lr is set twice"),
    (["data.vocabulary=int(300, 500)"], r"data stays as it is \(what varies are keys of train, model"),
    (["train.seed=int(1, 5)"], "luck is not searched"),
    (["model.kind=choice(mlp, gru)"], "each kind has keys of its own"),
    (["train.lrr=uniform(0.1, 1)"], "train.lrr: unknown key, did you mean lr"),
    (["train.lr=uniform(-1, 1)"], "train.lr: Input should be greater than 0"),
    (["train.optimizer=choice(adamw, adam)"], "train.optimizer: Input should be 'muon', 'adamw'"),
    (["train.warmup=int(0, 12)"], r"warmup \(12\) must be shorter than steps"),
    (["train.lr=choice(2020-01-01, 0.1)"], "train.lr: Input should be a valid number"),
    (["model.width.inner=int(1, 2)"], "model.width: Input should be a valid integer"),
]


@pytest.mark.parametrize(("texts", "told"), BAD)
def test_bad_settings(texts, told):
    with pytest.raises(MetrolineError, match=told) as error:
        space.check(space.parse(texts), "mini", small_runs.values())
    assert "\n" not in str(error.value)


def test_settings_are_sorted_and_give_values():
    settings = space.parse(
        ["train.lr = loguniform(1e-4, 1e-2)", "model.width=choice(16, 32)", "train.batch=int(2,8,2)"]
    )
    assert [setting.key for setting in settings] == ["model.width", "train.batch", "train.lr"]
    assert [list(setting.ends()) for setting in settings] == [[16, 32], [2, 8], [1e-4, 1e-2]]
    assert settings[0].value("32") == 32
    assert settings[1].grid() == [2, 4, 6, 8]
    assert settings[2].value(0.00123456) == 0.001235


def test_own_settings_where_they_lie_within():
    inside = space.parse(["train.lr=loguniform(1e-4, 1e-1)", "model.width=choice(16, 32)"])
    assert space.own(inside, small_runs.recipe()) == {"train.lr": 0.02, "model.width": "16"}
    for outside in ("train.lr=uniform(0.1, 1)", "model.width=choice(32, 64)", "train.warmup=int(3, 8)"):
        assert space.own(space.parse([outside]), small_runs.recipe()) is None


def test_put_leaves_the_original():
    values = {"train": {"lr": 1}, "model": None}
    assert space.put(values, {("train", "lr"): 2, ("model", "a"): 3}) == {"train": {"lr": 2}, "model": {"a": 3}}
    assert values == {"train": {"lr": 1}, "model": None}
