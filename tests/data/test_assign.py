"""Records to splits: groups whole, the newest last, and the set's own split; an empty one is refused."""

from collections import Counter

import pytest
from pydantic import ValidationError

from base.errors import MetrolineError
from data.assign import Item, assign, digest
from data.split import SplitConfig


def items(count: int = 400, **meta) -> list[Item]:
    return [Item(f"a.csv:{n}", digest(b"%d" % n), {key: make(n) for key, make in meta.items()}) for n in range(count)]


def split(found: list[Item], **config) -> list[str]:
    return assign(found, SplitConfig.model_validate(config))


def test_hash_is_by_content():
    one, two = items(), items()[::-1]
    assert split(one) == split(two)[::-1]
    assert Counter(split(items(4000)))["test"] == pytest.approx(400, abs=80)
    assert digest(b"ab", b"c") != digest(b"a", b"bc")


def test_tail():
    assert split(items(100), method="tail", valid=0.1, test=0.05) == ["test"] * 5 + ["train"] * 85 + ["valid"] * 10


def test_groups_stay_together():
    found = items(2000, writer=lambda n: n % 100)
    splits = split(found, method="group", group="writer", test=0.2)
    for writer in range(100):
        assert len({where for item, where in zip(found, splits, strict=True) if item.meta["writer"] == writer}) == 1
    assert 200 < Counter(splits)["test"] < 700
    more = items(3000, writer=lambda n: n % 150)
    assert split(more, method="group", group="writer", test=0.2)[:100] == splits[:100]


@pytest.mark.parametrize(
    "when", [lambda n: n, lambda n: str(n), lambda n: f"2016-07-{1 + n // 24:02} {n % 24:02}:00:00",
             lambda n: f"2016-07-{1 + n // 24:02}T{n % 24:02}:00Z"]
)  # fmt: skip
def test_time_puts_the_newest_last(when):
    found = items(100, when=when)
    splits = split(found[::-1], method="time", by="when", valid=0.2, test=0.1)[::-1]
    assert splits == ["train"] * 70 + ["valid"] * 20 + ["test"] * 10
    splits = split(found, method="time", by="when", valid=0.2, test=0.1, gap=3)
    assert splits == ["train"] * 67 + [""] * 3 + ["valid"] * 17 + [""] * 3 + ["test"] * 10


def test_one_time_is_in_one_split_and_gaps_count_times():
    found = items(100, day=lambda n: n // 7)
    splits = split(found, method="time", by="day", valid=0.2, test=0.1, gap=1)
    by_day = {day: {s for item, s in zip(found, splits, strict=True) if item.meta["day"] == day} for day in range(15)}
    assert all(len(splits) == 1 for splits in by_day.values())
    order = [by_day[day].pop() for day in range(15)]
    assert order == ["train"] * 9 + [""] + ["valid"] * 2 + [""] + ["test"] * 2


def test_time_without_valid():
    assert split(items(10, t=lambda n: n), method="time", by="t", valid=0, test=0.2) == ["train"] * 8 + ["test"] * 2


@pytest.mark.parametrize("value", ["yesterday", float("nan"), "inf", "2016-13-01"])
def test_no_time(value):
    with pytest.raises(MetrolineError, match=r"a.csv:3: t .* is no time \(write numbers or ISO 8601"):
        split(items(9, t=lambda n: value if n == 3 else n), method="time", by="t")


def named(*names: str) -> list[Item]:
    return [Item(name, digest(name.encode())) for name in names]


def test_given_by_words_in_the_path():
    found = named("train/1.png", "validation/1.png", "TREC.test.all:4", "dev.tsv:1", "sts-train.csv:2", "Testing/2.png")
    assert split(found, method="given") == ["train", "valid", "test", "valid", "train", "test"]


def test_given_by_pattern_and_the_rest_is_train():
    found = named(*(f"recordings/{n % 10}_theo_{n // 10}.wav" for n in range(200)))
    splits = split(found, method="given", given={"test": r"_[0-4]\.wav$"}, valid=0.1)
    assert [where == "test" for where in splits] == [n // 10 < 5 for n in range(200)]
    assert 5 < Counter(splits)["valid"] < 30
    assert split(found, method="given", given={"test": r"_[0-4]\.wav$"}, valid=0).count("train") == 150


def test_given_carves_valid_by_group():
    found = [
        Item(f"{n}_test.png" if n >= 90 else f"{n}_train.png", digest(b"%d" % n), {"who": n % 30}) for n in range(100)
    ]
    splits = split(found, method="given", valid=0.3, group="who")
    for who in range(30):
        assert len({s for item, s in zip(found, splits, strict=True) if item.meta["who"] == who} - {"test"}) == 1


def test_given_by_a_column():
    found = items(30, subset=lambda n: ("training", "dev", "test")[n % 3])
    assert split(found, method="given", by="subset")[:3] == ["train", "valid", "test"]
    other = items(30, fold=lambda n: n % 3)
    assert split(other, method="given", by="fold", given={"test": "^2$", "valid": "^1$"})[:3] == [
        "train",
        "valid",
        "test",
    ]


@pytest.mark.parametrize(
    ("found", "config", "message"),
    [
        (named("1.png", "test/2.png"), {}, r"1.png: '1.png' tells no split \(say with split.given"),
        (named("test/train/1.png"), {}, r"'test/train/1.png' tells test and train"),
        (named("train/1.png", "dev/2.png"), {}, r"none of 2 records falls into test \(say with"),
        (items(9, s=lambda n: None), {"by": "s"}, r"a.csv:0: s has no value"),
        (items(9, s=lambda n: "x"), {"by": "S"}, r"a.csv:0: no column 'S' to split by"),
    ],
)
def test_given_refused(found, config, message):
    with pytest.raises(MetrolineError, match=message):
        split(found, method="given", **config)


def test_empty_splits_are_refused():
    with pytest.raises(MetrolineError, match=r"falls into valid and test \(there are too few values of who"):
        split(items(9, who=lambda n: "one"), method="group", group="who", valid=0.01, test=0.01)
    with pytest.raises(MetrolineError, match=r"none of 10 records falls into valid \(there are too few times"):
        split(items(10, t=lambda n: n), method="time", by="t", valid=0.2, test=0.2, gap=3)
    with pytest.raises(MetrolineError, match="none of 0 records"):
        split([])


@pytest.mark.parametrize(
    "values",
    [{"method": "group"}, {"method": "time"}, {"by": "x"}, {"gap": 3}, {"method": "given", "gap": 3},
     {"given": {"test": "x"}},
     {"method": "given", "given": {"test": "("}}, {"method": "given", "given": {"other": "x"}},
     {"method": "time", "by": "x", "gap": -1}, {"duplicates": "maybe"}],
)  # fmt: skip
def test_bad_settings(values):
    with pytest.raises(ValidationError):
        SplitConfig.model_validate(values)
