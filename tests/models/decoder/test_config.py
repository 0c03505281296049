"""A decoder's configuration: what follows from what, and what is refused."""

import pytest
from pydantic import ValidationError

from models.decoder.config import DecoderConfig


def test_defaults_follow_from_what_is_given():
    config = DecoderConfig(width=256, heads=8)
    assert (config.kv_heads, config.head_dim, config.hidden) == (8, 32, 704)
    assert DecoderConfig(width=256, activation="gelu").hidden == 1024
    assert DecoderConfig(width=256, hidden=300, kv_heads=2).hidden == 300


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 100, "heads": 3}, "width 100 is not a multiple of heads 3"),
        ({"heads": 4, "kv_heads": 3}, "heads 4 is not a multiple of kv_heads 3"),
        ({"width": 60, "heads": 4}, "even head_dim, not 15"),
        ({"heads": 0}, "greater than or equal to 1"),
        ({"dropout": 1.0}, "less than 1"),
        ({"dropout": -0.1}, "greater than or equal to 0"),
        ({"layers": 0}, "greater than or equal to 1"),
        ({"context": -1}, "greater than or equal to 1"),
        ({"activation": "tanh"}, "'swiglu', 'gelu' or 'relu2'"),
        ({"positions": "alibi"}, "'rope' or 'learned'"),
        ({"n_layer": 3}, "Extra inputs are not permitted"),
        ({"norm_eps": 0}, "greater than 0"),
        ({"width": "wide"}, "valid integer"),
    ],
)
def test_bad_values_say_what_is_wrong(values, message):
    with pytest.raises(ValidationError, match=message):
        DecoderConfig(**values)


def test_learned_positions_take_odd_heads():
    assert DecoderConfig(width=60, heads=4, positions="learned").head_dim == 15
