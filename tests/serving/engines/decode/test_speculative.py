"""Prompt lookup: what is guessed from a text that repeats itself."""

import random

from serving.engines.decode.speculative import GRAM, Lookup


def test_what_followed_the_last_time():
    assert Lookup([1, 2, 3, 4, 5, 9, 1, 2]).guess([3], 3) == [4, 5, 9]


def test_the_latest_of_several_places():
    lookup = Lookup([1, 2, 3, 4, 1, 2, 3, 5, 1, 2])
    assert lookup.guess([3], 1) == [5]


def test_nothing_without_a_repetition():
    lookup = Lookup([1, 2, 3, 4])
    assert lookup.guess([5], 4) == []
    assert Lookup([1]).guess([1], 4) == []
    assert Lookup([1, 2, 3]).guess([], 4) == []


def test_a_text_that_repeats_one_token():
    assert Lookup([7] * 5).guess([7], 2) == [7]  # all that followed so far


def test_it_keeps_up_with_the_text():
    """The same as a search through the whole text, at every length."""
    chance = random.Random(0)
    prompt = [chance.randint(0, 2) for _ in range(10)]
    lookup, generated = Lookup(prompt), []
    for _ in range(200):
        generated.append(chance.randint(0, 2))
        text = prompt + generated
        places = [i for i in range(len(text) - GRAM) if text[i : i + GRAM] == text[-GRAM:]]
        expected = text[places[-1] + GRAM : places[-1] + GRAM + 4] if places else []
        assert lookup.guess(generated, 4) == expected
