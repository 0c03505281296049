"""Cleaning: what is changed, and that each filter drops for its own reason and only that."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.text.clean import CleanConfig, letters, normalise, reason_to_drop, repeated_lines

TEXT = "Four score and seven years ago our fathers brought forth on this continent a new nation."


def reason(text: str, **config: object) -> str | None:
    settings = CleanConfig.model_validate(config)
    return reason_to_drop(normalise(text, settings), settings)


def test_makes_text_uniform():
    assert normalise("  e\u0301a\r\nb\rc\n", CleanConfig()) == "\u00e9a\nb\nc"


def test_can_leave_text_alone():
    text = "  e\u0301\r\n"
    assert normalise(text, CleanConfig(unicode="none", newlines=False, strip=False)) == text


@given(st.text())
def test_cleaning_twice_changes_nothing_more(text):
    config = CleanConfig()
    once = normalise(text, config)
    assert normalise(once, config) == once
    assert unicodedata.is_normalized("NFC", once)


@pytest.mark.parametrize(
    "text", ["a", TEXT, "def f(x):\n    return x\n", "日本語の文章です。", "हिन्दी में एक वाक्य", "emma", "Ünïcödé – ok"]
)
def test_keeps_real_text_by_default(text):
    assert reason(text) is None


@pytest.mark.parametrize(
    ("text", "config", "expected"),
    [
        ("", {}, "empty"),
        (" \n\t ", {}, "empty"),
        (" \n\t ", {"strip": False}, "empty"),
        ("abc", {"min_characters": 4}, "too_short"),
        ("abcd", {"min_characters": 4}, None),
        ("abcd", {"max_characters": 3}, "too_long"),
        ("abc", {"max_characters": 3}, None),
        ("caf\ufffd" * 10, {}, "broken_characters"),
        ("abc\0" * 10, {}, "broken_characters"),
        (TEXT * 20 + "\ufffd", {}, None),
        ("\ufffd", {"max_broken": 1, "min_letters": 0}, None),
        ("3.14 2.71 1.41", {}, "few_letters"),
        ("3.14 2.71 1.41", {"min_letters": 0}, None),
        ("x1 y2 z3", {"min_letters": 0.5}, None),
        ("x1 y2 z3", {"min_letters": 0.51}, "few_letters"),
        ("Buy now!\n" * 10, {}, "repeated_lines"),
        ("Buy now!\n" * 10, {"max_repeated_lines": 1}, None),
        ("Refrain\nA verse here\nRefrain", {}, None),
    ],
)  # fmt: skip
def test_reasons(text, config, expected):
    assert reason(text, **config) == expected


def test_shares():
    assert letters("ab 12") == 0.5
    assert letters(" ") == 0
    assert repeated_lines("ab\ncd\nab\n\n\n") == pytest.approx(1 / 3)
    assert repeated_lines("") == 0
