"""Splits: stable, disjoint, of the asked size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from data.split import SplitConfig, by_hash, tail_borders
from data.text.spool import Spool


@given(st.text(), st.text())
def test_the_split_of_a_document_depends_on_nothing_else(text, salt):
    config = SplitConfig(salt=salt)
    assert by_hash(text, config) == by_hash(text, config)


def test_shares():
    config = SplitConfig(valid=0.05, test=0.10)
    splits = [by_hash(f"document {number}", config) for number in range(20_000)]
    assert splits.count("test") / 20_000 == pytest.approx(0.10, abs=0.01)
    assert splits.count("valid") / 20_000 == pytest.approx(0.05, abs=0.01)


def test_another_salt_is_another_split():
    texts = [f"document {number}" for number in range(1000)]
    one, two = ([by_hash(text, SplitConfig(salt=salt)) for text in texts] for salt in ("a", "b"))
    assert one != two


def test_known_splits_do_not_move():
    """A release that moved them would leak test documents into training: never change these."""
    assert [by_hash(f"document {number}", SplitConfig()) for number in range(12)] == [
        "train",
        "test",
        "train",
        "train",
        "train",
        "train",
        "train",
        "train",
        "train",
        "test",
        "train",
        "train",
    ]


def spooled(tmp_path, texts: list[str], **config: object) -> list[tuple[str, str, str]]:
    with Spool(tmp_path / "spool", SplitConfig.model_validate(config)) as spool:
        for number, text in enumerate(texts):
            spool.add(str(number), text, {})
    return [(document.split, document.id, document.text) for document in spool.read()]


def test_tail_cuts_one_text_in_order(tmp_path):
    text = "".join(chr(0x100 + number) for number in range(200))
    parts = spooled(tmp_path, [text], method="tail", valid=0.10, test=0.05)
    assert [(split, name) for split, name, _ in parts] == [
        ("test", "0[0:10]"),
        ("train", "0[10:180]"),
        ("valid", "0[180:200]"),
    ]
    assert "".join(part for _, _, part in parts) == text


def test_tail_is_where_nanogpt_cuts():
    total = 1_115_394  # tinyshakespeare: its prepare.py takes the first int(total * 0.9) characters for training
    assert tail_borders(total, SplitConfig(method="tail", valid=0.10, test=0.05))[1] == int(total * 0.9)


def test_tail_keeps_several_documents_whole(tmp_path):
    texts = [f"text {number:03}\n\u2028" for number in range(100)]
    parts = spooled(tmp_path, texts, method="tail", valid=0.10, test=0.05)
    assert [text for _, _, text in parts] == texts
    splits = [split for split, _, _ in parts]
    assert splits == ["test"] * 5 + ["train"] * 85 + ["valid"] * 10


@pytest.mark.parametrize("count", [2, 3, 5, 25])
def test_tail_cuts_few_documents_where_a_split_would_be_empty(tmp_path, count):
    texts = [chr(0x100 + number) * 40 for number in range(count)]
    parts = spooled(tmp_path, texts, method="tail", valid=0.05, test=0.10)
    joined = {name: "".join(text for split, _, text in parts if split == name) for name in ("test", "train", "valid")}
    assert joined["test"] + joined["train"] + joined["valid"] == "".join(texts)
    if count < 25:
        assert [len(joined[name]) for name in ("test", "valid")] == [4 * count, 40 * count - int(40 * count * 0.95)]
        assert (parts[0][1], parts[-1][1]) == (f"0[0:{4 * count}]", f"{count - 1}[{40 - len(joined['valid'])}:40]")
    else:
        assert [text for _, _, text in parts] == texts
        assert all(joined.values())


def test_tail_cuts_where_one_document_is_most_of_the_text(tmp_path):
    parts = spooled(tmp_path, ["b" * 98, "a", "c"], method="tail", valid=0.05, test=0.10)
    assert [(split, name) for split, name, _ in parts] == [
        ("test", "0[0:10]"),
        ("train", "0[10:95]"),
        ("valid", "0[95:98]"),
        ("valid", "1"),
        ("valid", "2"),
    ]


def test_tail_without_test(tmp_path):
    parts = spooled(tmp_path, ["x" * 100], method="tail", valid=0.1, test=0)
    assert [split for split, _, _ in parts] == ["train", "valid"]


@pytest.mark.parametrize("values", [{"valid": 0.5, "test": 0.5}, {"valid": -0.1}, {"test": 1.0}, {"method": "random"}])
def test_bad_settings(values):
    with pytest.raises(ValidationError):
        SplitConfig.model_validate(values)
