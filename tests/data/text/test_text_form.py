"""The one form of text that training and prompts share."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from data.text.clean import CleanConfig, normalise
from data.text.text_form import TextForm

NFD = unicodedata.normalize("NFD", "caf\u00e9")


@pytest.mark.parametrize(
    ("settings", "text", "formed"),
    [
        ({}, "a\r\nb\rc\n", "a\nb\nc\n"),
        ({}, NFD, "caf\u00e9"),
        ({"newlines": False}, "a\r\nb", "a\r\nb"),
        ({"unicode": "none"}, NFD + "\r\n", NFD + "\n"),
        ({"unicode": "none", "newlines": False}, NFD + "\r\n", NFD + "\r\n"),
        ({}, "  white space stays \n", "  white space stays \n"),
    ],
)
def test_forms(settings, text, formed):
    assert TextForm(**settings).apply(text) == formed


@given(st.text(), st.sampled_from(["NFC", "none"]), st.booleans())
def test_it_is_what_prepare_does_but_for_the_borders(text, unicode, newlines):
    formed = TextForm(unicode=unicode, newlines=newlines).apply(text)
    assert normalise(text, CleanConfig(unicode=unicode, newlines=newlines, strip=False)) == formed
    assert normalise(text, CleanConfig(unicode=unicode, newlines=newlines)) == formed.strip()


def test_what_is_no_form():
    for bad in ({"unicode": "NFX"}, {"newlines": "perhaps"}, {"strip": True}):
        with pytest.raises(ValidationError):
            TextForm.model_validate(bad)
