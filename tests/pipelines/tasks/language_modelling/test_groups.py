"""The picture of losses per group takes any name that a document's meta can give a group."""

from pathlib import Path

import pytest

from pipelines.tasks.language_modelling.groups import group_names, plot


@pytest.mark.parametrize("value", ["$x^{$", "a $ b", "two\nlines", "[1, 'a']", 10**300, True, 1.5, ""])
def test_any_value_names_a_group(tmp_path: Path, value: object) -> None:
    names = group_names([{"id": "a", "meta": {"of": value}}], "of")
    assert names == [str(value)]
    rows = [{"group": name, "bits_per_byte": 1.0} for name in [*names, "other"]]
    plot(rows, 1.0, "mine: test loss per $x^{$", tmp_path / "groups.png")
    assert (tmp_path / "groups.png").read_bytes().startswith(b"\x89PNG")
