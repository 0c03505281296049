"""Series, vectors and text: what JSON can say, and what it must not. Each kind has a test of its own codec besides."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from base.errors import BadItem, MetrolineError
from data.codecs import decode
from data.signature import SeriesInput, TextInput, VectorInput
from data.text.tokenizer import TokenizerConfig, train

ONE = SeriesInput(name="history", context=3, channels=("load",))
TWO = SeriesInput(name="history", context=2, channels=("load", "oil"))
VECTOR = VectorInput(name="state", shape=(3,))
TEXT = TextInput(name="text", length=5)


@pytest.mark.parametrize(
    ("input_", "raw", "expected"),
    [
        (ONE, [1, 2.5, None], [[1], [2.5], [math.nan]]),
        (ONE, [[1], [2], [3]], [[1], [2], [3]]),
        (ONE, ["ignored", 1, 2, 3], [[1], [2], [3]]),
        (TWO, [[1, 2], [None, 4]], [[1, 2], [math.nan, 4]]),
        (TWO, np.array([[9, 9], [1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (VECTOR, [1, -2, 3e-3], [1, -2, 3e-3]),
    ],
)
def test_numbers(input_, raw, expected):
    found = decode(input_, raw)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array(expected, np.float32))
    if isinstance(raw, list):
        np.testing.assert_array_equal(decode(input_, json.dumps(raw).encode()), found)


@pytest.mark.parametrize(
    ("input_", "raw", "message"),
    [
        (ONE, [1, 2], "history: 2 steps, and the model looks back 3"),
        (ONE, [], "history: a list of numbers"),
        (ONE, 5, "history: a list of numbers"),
        (ONE, [1, 2, "3"], r'history\[2\].load: "3" is not a number'),
        (ONE, [1, True, 3], r"history\[1\].load: true"),
        (ONE, [1, 2, [3, 4]], r"history\[2\]: 2 numbers for 1 channels \(load\)"),
        (TWO, [[1, 2], [3]], r"history\[1\]: 1 numbers for 2 channels \(load, oil\)"),
        (TWO, [[1, 2], [3, math.inf]], r"history\[1\].oil: Infinity is not finite"),
        (TWO, [[1, 2], [3, {}]], r"history\[1\].oil: {} is not a number"),
        (VECTOR, [1, 2], "state: 2 numbers instead of 3"),
        (VECTOR, [1, None, 3], r"state\[1\]: a number is needed"),
        (VECTOR, b"[1, 2, NaN]", r"state\[2\]: a number is needed"),
        (VECTOR, b"[1, 2, 1e999]", r"state\[2\]: .*not finite"),
        (VECTOR, b"[1, 2, 3", "not JSON"),
        (VECTOR, {"a": 1}, "state: a list of numbers"),
    ],
)
def test_refused(input_, raw, message):
    with pytest.raises(BadItem, match=message):
        decode(input_, raw)


def test_a_vector_of_its_names_or_of_any_length():
    with pytest.raises(BadItem, match="1 numbers instead of 2"):
        decode(VectorInput(name="v", names=("a", "b")), [1])
    assert decode(VectorInput(name="v", shape=(-1,)), [1, 2, 3, 4]).shape == (4,)


@pytest.fixture(scope="module")
def tokenizer():
    return train(["abc"], TokenizerConfig(kind="char"))


def test_text(tokenizer):
    found = decode(TEXT, "cab", tokenizer)
    assert found.dtype == np.int64
    assert found.tolist() == [4, 2, 3]
    np.testing.assert_array_equal(decode(TEXT, b"cab", tokenizer), found)
    assert decode(TEXT, "ax", tokenizer).tolist() == [2, 1]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("", "text: the text is empty"),
        ("abcabc", "text: 6 tokens, more than 5"),
        ("a" * 10_000, "text: 10,000 characters are more than 5 tokens"),
        (b"a\xff", "text: invalid UTF-8 at byte 1"),
        ("a\ud800", "text: half a surrogate pair at character 1"),
        (["a"], r'text: a text is needed, not \["a"\]'),
    ],
)
def test_text_refused(tokenizer, raw, message):
    with pytest.raises(BadItem, match=message):
        decode(TEXT, raw, tokenizer)


def test_token_ids_stand_for_their_text(tokenizer):
    ids = decode(TEXT, "axcab", tokenizer)
    np.testing.assert_array_equal(decode(TEXT, tuple(ids.tolist()), tokenizer), ids)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ((), "the list of token ids is empty"),
        ((-1,), "between 0 and 4, not -1"),
        ((3, 5), "between 0 and 4, not 5"),
        ((10**30,), "between 0 and 4"),
        ((0, 2), r"0 is <\|endoftext\|>, which no text has"),
        ((2,) * 6, "6 tokens, more than 5"),
    ],
)
def test_token_ids_refused(tokenizer, ids, message):
    with pytest.raises(BadItem, match=message):
        decode(TEXT, ids, tokenizer)


def test_text_without_tokenizer():
    with pytest.raises(MetrolineError, match="text needs a tokenizer"):
        decode(TEXT, "a")


def test_serving_imports_only_what_it_decodes():
    heavy = ("PIL", "soundfile", "tokenizers", "pyarrow", "torch")
    code = f"import sys, data.codecs; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
