"""Leaks between splits are refused, and the offending items are named."""

import pytest

from base.errors import MetrolineError
from data.assign import Item
from data.leaks import drop_duplicates, refuse_copies_of_the_target, refuse_split_groups, refuse_unseen_labels
from data.split import SplitConfig


def items(digests: str, **meta: list) -> list[Item]:
    return [
        Item(f"{place}.png", one, {key: values[place] for key, values in meta.items()})
        for place, one in enumerate(digests)
    ]


SPLITS = ["train", "train", "valid", "test", "train", "test", ""]


def test_equal_inputs_in_two_splits():
    found = items("abacdca")
    with pytest.raises(MetrolineError, match=r"1 records are in two splits, such as 0.png and 2.png, whose inputs are"):
        drop_duplicates(found, SPLITS, SplitConfig())
    dropped = drop_duplicates(found, SPLITS, SplitConfig(duplicates="drop"))
    assert dropped == ["", "train", "valid", "test", "train", "test", ""]
    assert drop_duplicates(found, SPLITS, SplitConfig(duplicates="keep")) == SPLITS


def test_test_keeps_what_valid_and_train_lose():
    assert drop_duplicates(items("aaaaaba"), SPLITS, SplitConfig(duplicates="drop")) == [
        "",
        "",
        "",
        "test",
        "",
        "test",
        "",
    ]


def test_equal_inputs_in_one_split_are_no_leak():
    assert drop_duplicates(items("aabcdce"), SPLITS, SplitConfig()) == SPLITS


def test_a_group_on_two_sides():
    config = SplitConfig(group="who")
    found = items("abcdefg", who=["ann", "bob", "cleo", "dan", "bob", "bob", "ann"])
    with pytest.raises(MetrolineError, match=r"who 'bob' is in train \(1.png\) and in test \(5.png\)"):
        refuse_split_groups(found, SPLITS, config)
    found = items("abcdefg", who=["ann", "bob", "cleo", "dan", "bob", "dan", "cleo"])
    refuse_split_groups(found, SPLITS, config)
    refuse_split_groups(items("abcdefg"), SPLITS, SplitConfig())
    with pytest.raises(MetrolineError, match=r"0.png: no column 'who', which split.group names \(did you mean why\?\)"):
        refuse_split_groups(items("abcdefg", why=list("abcdefg")), SPLITS, config)


def test_a_label_that_train_has_not():
    found = items("abcdefg")
    with pytest.raises(MetrolineError, match=r"the label 'z' is in test only \(3.png; 2 records\)"):
        refuse_unseen_labels(found, SPLITS, list("xyxzxzz"))
    refuse_unseen_labels(found, SPLITS, list("xyxxyyz"))


@pytest.mark.parametrize("column", [["no", "yes"] * 20, [7, 3] * 20])
def test_a_column_that_tells_the_label(column):
    columns = {"age": list(range(40)), "told": column}
    with pytest.raises(MetrolineError, match=r"the column 'told' tells the target: .* is always 'no'"):
        refuse_copies_of_the_target(columns, ["no", "yes"] * 20)


def test_a_column_that_equals_a_number():
    target = [float(number) for number in range(40)]
    refuse_copies_of_the_target({"id": [f"row {number}" for number in range(40)]}, target)
    with pytest.raises(MetrolineError, match="the column 'price' tells the target"):
        refuse_copies_of_the_target({"price": list(target)}, target)


def test_columns_that_tell_nothing():
    label = ["no", "yes"] * 20
    columns = {"key": list(range(40)), "one": [1] * 40, "noise": [0, 1] * 19 + [0, 0]}
    refuse_copies_of_the_target(columns, label)
    refuse_copies_of_the_target({"x": ["a", "b"]}, ["no", "yes"])
