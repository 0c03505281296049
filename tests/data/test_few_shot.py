"""k records of each label, the same ones whatever the order; test is left alone."""

from collections import Counter

import pytest
from pydantic import ValidationError

from base.errors import MetrolineError
from data.assign import Item, digest
from data.few_shot import few_per_label
from data.split import SplitConfig

COUNT = 600
ITEMS = [Item(f"a.csv:{n}", digest(b"%d" % n)) for n in range(COUNT)]
SPLITS = [("train", "train", "train", "valid", "test")[n % 5] for n in range(COUNT)]
LABELS = ["abc"[n // 5 % 3] for n in range(COUNT)]


def few(items=ITEMS, splits=SPLITS, labels=LABELS, salt="metroline", **per_class) -> list[str]:
    return few_per_label(items, splits, labels, SplitConfig(per_class=per_class, salt=salt))


def kept(splits: list[str]) -> set[str]:
    return {item.id for item, split in zip(ITEMS, splits, strict=True) if split == "train"}


def test_k_of_each_label_in_train_and_valid_and_all_of_test():
    found = Counter(zip(few(train=10, valid=3), LABELS, strict=True))
    assert {found["train", label] for label in "abc"} == {10}
    assert {found["valid", label] for label in "abc"} == {3}
    assert sum(found["test", label] for label in "abc") == SPLITS.count("test")
    only = few(train=10)
    assert [s for s in only if s == "valid"] == [s for s in SPLITS if s == "valid"]
    assert few() == SPLITS


def test_another_order_keeps_the_same_and_another_salt_does_not():
    chosen = kept(few(train=10))
    turned = few(ITEMS[::-1], SPLITS[::-1], LABELS[::-1], train=10)[::-1]
    assert kept(turned) == chosen
    assert kept(few(train=11)) > chosen
    assert kept(few(train=10, salt="other")) != chosen


def test_equal_records_count_once():
    items = [Item(f"{n}.png", "ab"[n % 2]) for n in range(9)]
    found = few(items, ["train"] * 9, ["one"] * 9, train=2)
    assert found == ["train", "train", *[""] * 7]


def test_too_few_are_refused_in_train_and_kept_in_valid():
    with pytest.raises(
        MetrolineError, match=r"label 'c' has 40 different records in train, .*per_class.train asks for 121 \(lower it"
    ):
        few(labels=["c" if n < 66 else "a" for n in range(COUNT)], train=121)
    assert few(valid=10_000) == SPLITS


@pytest.mark.parametrize("value", [{"test": 3}, {"train": 0}, {"train": 1.5}, {"train": None}, 10])
def test_bad_settings(value):
    with pytest.raises(ValidationError):
        SplitConfig.model_validate({"per_class": value})
