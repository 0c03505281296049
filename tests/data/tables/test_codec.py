"""Columns and rows: what train has seen decides; every other value has one right answer or one clear refusal."""

import json
import math

import numpy as np
import pytest

from base.errors import BadItem, MetrolineError
from data.signature import TableInput
from data.tables.codec import decode_row, plain_row
from data.tables.columns import fit
from data.tables.rows import Row

TRAIN = [
    {"age": "39", "zip": "001", "work": "State-gov", "gain": None},
    {"age": "50", "zip": "10115", "work": "Private", "gain": "2.5"},
    {"age": "38", "zip": "001", "work": None, "gain": "-1e3"},
]


def as_rows(values: list[dict]) -> list[Row]:
    return [Row(f"a.csv:{number}", row) for number, row in enumerate(values, 2)]


@pytest.fixture
def table() -> TableInput:
    return TableInput(name="row", shape=(4,), columns=fit(as_rows(TRAIN), ["age", "zip", "work", "gain"]))


def test_columns_are_what_train_has(table):
    age, zip_, work, gain = table.columns
    assert (age.kind, age.missing, age.minimum, age.maximum, age.example) == ("number", False, 38, 50, 39)
    assert (zip_.kind, zip_.categories, zip_.example) == ("category", ("001", "10115"), "001")
    assert (work.kind, work.categories, work.missing) == ("category", ("Private", "State-gov"), True)
    assert (gain.kind, gain.missing, gain.minimum, gain.maximum) == ("number", True, -1000, 2.5)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"age": 39, "zip": "001", "work": "State-gov", "gain": None}, [39, 1, 2, math.nan]),
        ({"age": "39", "zip": "10115", "work": "Private", "gain": "2.5"}, [39, 2, 1, 2.5]),
        ({"gain": 0, "work": None, "zip": 10115, "age": 1.5}, [1.5, 2, 0, 0]),
        ({"age": 39, "zip": 1, "work": "never seen", "gain": math.nan}, [39, 0, 0, math.nan]),
        ({"age": 39, "zip": "", "work": "", "gain": ""}, [39, 0, 0, math.nan]),
    ],
)
def test_a_row(table, row, expected):
    for raw in (row, json.dumps(row).encode(), b"\xef\xbb\xbf" + json.dumps(row).encode()):
        found = decode_row(table, raw)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, np.array(expected, np.float32))


GOOD = {"age": 1, "zip": "001", "work": "x", "gain": 1}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**GOOD, "age": None}, "age: a value is needed"),
        ({**GOOD, "age": "old"}, 'age: "old" is not a number'),
        ({**GOOD, "age": "007"}, 'age: "007" is not a number'),
        ({**GOOD, "age": "1_000"}, "age: .* is not a number"),
        ({**GOOD, "age": "٣"}, "age: .* is not a number"),
        ({**GOOD, "age": True}, "age: true is not a number"),
        ({**GOOD, "gain": math.inf}, "gain: Infinity is not finite"),
        ({**GOOD, "gain": "-inf"}, "gain: .* is not finite"),
        ({**GOOD, "gain": 1e39}, "too large for float32"),
        ({**GOOD, "gain": 10**400}, "too large for float32"),
        ({**GOOD, "gain": [1]}, "gain: .* is no single value"),
        ({**GOOD, "work": {"a": 1}}, "work: .* is no single value"),
        ({**GOOD, "agee": 1}, r'row: unknown column "agee" \(did you mean age\?\)'),
        ({"agee": 1, "zip": "001", "work": "x", "gain": 1}, r'row: no value for "age" \(did you mean agee\?\)'),
        ({"age": 1}, r'row: no value for "zip" and 2 more \(null says'),
        ([1, 2, 3, 4], r"row: a row is a JSON object"),
        (b"{", "not JSON"),
        (b"\xff", "not UTF-8 at byte 0"),
        (b'{"age": 1, "age": 2}', 'the key "age" occurs twice'),
        (b'{"a":' * 100_000, "nested too deep"),
        (b'{"age": ' + b"1" * 5000 + b"}", "not JSON"),
        ({**GOOD, "\ud800": 1}, "unknown column"),
    ],
)
def test_refused(table, row, message):
    with pytest.raises(BadItem, match=message) as error:
        decode_row(table, row)
    str(error.value).encode()


def test_a_bomb_of_columns_is_one_short_line(table):
    bomb = {**dict.fromkeys(range(10**6)), **GOOD}
    for row in (bomb, {name: value for name, value in bomb.items() if name != "age"}):
        with pytest.raises(BadItem) as error:
            decode_row(table, row)
        assert len(str(error.value)) < 200


def test_a_row_of_a_file_as_a_client_sends_it(table):
    sent = plain_row(table.columns, {**TRAIN[1], "other": "x"})
    assert sent == {"age": 50, "zip": "10115", "work": "Private", "gain": 2.5}
    assert isinstance(sent["age"], int)
    for row in TRAIN:
        np.testing.assert_array_equal(decode_row(table, plain_row(table.columns, row)), decode_row(table, row))
    assert plain_row(table.columns, {"age": "x", "zip": 7.0, "work": True, "gain": "nan"}) == {
        "age": "x",
        "zip": "7",
        "work": "true",
        "gain": None,
    }


def test_kinds_can_be_said():
    (column,) = fit(as_rows([{"a": "1"}, {"a": 2}, {"a": 2.0}, {"a": True}]), ["a"], {"a": "category"})
    assert column.categories == ("1", "2", "true")
    with pytest.raises(MetrolineError, match=r"a.csv:3: a: .x. is not a number"):
        fit(as_rows([{"a": "1"}, {"a": "x"}]), ["a"], {"a": "number"})
    with pytest.raises(MetrolineError, match=r"there is no column 'b'"):
        fit(as_rows([{"a": "1"}]), ["a"], {"b": "number"})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([{"a": None}], "'a' has no value in the train split"),
        ([{"a": "nan"}], "'a' has no value in the train split"),
        ([{"a": "1"}, {"a": "inf"}], r"a.csv:3: a: .inf. is not finite"),
        ([{"b": "1"}], r"a.csv:2: no column 'a' \(there are: b\)"),
        ([{"a": f"name {n}"} for n in range(10_001)], "10,001 categories, more than 10,000"),
    ],
)
def test_columns_that_cannot_be(values, message):
    with pytest.raises(MetrolineError, match=message):
        fit(as_rows(values), ["a"])
