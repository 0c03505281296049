"""Which bundles an adapter was made for, by the hashes that it names."""

import pytest

from base.adapters import mismatch

FILES = {"model.safetensors": "a", "adapters.json": "b", "adapters.safetensors": "c"}
SAID = {"base": "chat", "base_sha256": "a", "layout": {"adapters.json": "b", "adapters.safetensors": "c"}}


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ({}, None),
        ({"model.safetensors": "x"}, "weights"),
        ({"adapters.json": "x"}, "export"),
        ({"model.safetensors": "x", "adapters.json": "x"}, "weights"),
    ],
)
def test_what_an_adapter_was_not_made_for(changed, wanted):
    assert mismatch(SAID, FILES | changed) == wanted


def test_files_and_words_that_are_missing():
    assert mismatch(SAID, {"model.safetensors": "a"}) == "export"
    assert mismatch(SAID, {}) == mismatch({}, FILES) == "weights"
