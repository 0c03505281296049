"""Sampling: what may be drawn, how often, and that a seed repeats it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.engines.decode import sampling
from serving.engines.decode.sampling import Sampler, SamplingParameters, likeliest, log_softmax

PROBABILITIES = np.array([0.4, 0.05, 0.3, 0.05, 0.2])
LOGITS = np.log(PROBABILITIES).astype(np.float32)


def draw(count: int, **parameters) -> np.ndarray:
    sampler = Sampler(SamplingParameters(**parameters))
    return np.array([sampler(LOGITS) for _ in range(count)])


def test_temperature_zero_is_greedy():
    assert set(draw(20, temperature=0)) == {0}


def test_top_k_one_is_greedy_too():
    assert set(draw(20, top_k=1)) == {0}


def test_frequencies_are_the_probabilities():
    counts = np.bincount(draw(4000, seed=1), minlength=5) / 4000
    assert np.abs(counts - PROBABILITIES).max() < 0.03


def test_temperature_sharpens():
    counts = np.bincount(draw(4000, seed=1, temperature=0.5), minlength=5) / 4000
    assert np.abs(counts - PROBABILITIES**2 / (PROBABILITIES**2).sum()).max() < 0.03


@pytest.mark.parametrize("temperature", [1e-6, 1e-300, 5e-324])
def test_tiny_temperatures_do_not_overflow(temperature):
    assert set(draw(50, seed=1, temperature=temperature)) == {0}


EDGES = {"temperature": (5e-324, 1e-4, 2.0), "top_p": (5e-324, 1 - 2**-53), "min_p": (5e-324, 1.0),
         "repetition_penalty": (0.1, 10.0), "presence_penalty": (-2.0, 2.0), "frequency_penalty": (-2.0, 5e-324),
         "top_k": (1, 2**31 - 1)}  # fmt: skip


@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in EDGES.items() for value in values])
def test_the_ends_of_what_a_request_may_ask_for(name, value, scale):
    logits = np.random.default_rng(0).normal(scale=scale, size=1000).astype(np.float32)
    sampler = Sampler(SamplingParameters(**{"seed": 1, "temperature": 1.0} | {name: value}), prompt=range(50))
    with np.errstate(all="raise", under="ignore"):
        assert all(0 <= sampler(logits) < 1000 for _ in range(20))


def test_top_k_keeps_the_likeliest():
    assert set(draw(500, seed=1, top_k=2)) == {0, 2}


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.01, {0}), (0.39, {0}), (0.41, {0, 2}), (0.75, {0, 2, 4}), (1.0, {0, 1, 2, 3, 4})]
)
def test_top_p_keeps_the_fewest_that_reach_it(top_p, kept):
    assert set(draw(1000, seed=1, top_p=top_p)) == kept


def test_top_k_and_top_p_together():
    assert set(draw(500, seed=1, top_k=3, top_p=0.6)) == {0, 2}


def test_a_seed_repeats_and_choices_differ():
    def tokens(seed: int | None, choice: int) -> list[int]:
        sampler = Sampler(SamplingParameters(seed=seed), choice)
        return [sampler(LOGITS) for _ in range(50)]

    assert tokens(7, 0) == tokens(7, 0)
    assert tokens(7, 0) != tokens(7, 1)
    assert tokens(7, 0) != tokens(8, 0)
    assert tokens(-1, 0) == tokens(-1, 0)
    assert tokens(None, 0) != tokens(None, 0)


def test_the_global_generator_is_left_alone():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    draw(10, seed=3)
    assert (np.random.get_state()[1] == before).all()


def test_penalties_push_repeats_away():
    assert len(set(draw(5, temperature=0, presence_penalty=2.0))) > 1
    repeated = draw(200, seed=1, temperature=0, frequency_penalty=2.0)
    assert np.bincount(repeated, minlength=5).min() > 30


@pytest.mark.parametrize(("min_p", "kept"), [(0.1, {0, 1, 2, 3, 4}), (0.2, {0, 2, 4}), (0.6, {0, 2}), (1.0, {0})])
def test_min_p_keeps_what_is_likely_enough_beside_the_likeliest(min_p, kept):
    assert set(draw(1000, seed=1, min_p=min_p)) == kept


def test_min_p_and_top_p_together():
    assert set(draw(500, seed=1, min_p=0.2, top_p=0.75)) == {0, 2, 4}
    assert set(draw(500, seed=1, min_p=0.6, top_p=0.75)) == {0, 2}
    assert set(draw(500, seed=1, min_p=0.2, top_p=0.5)) == {0, 2}


def test_repetition_penalty_of_prompt_and_generated():
    logits = np.array([2.0, 1.5, -1.0, -1.1], np.float32)
    parameters = SamplingParameters(temperature=0, repetition_penalty=2.0)
    sampler = Sampler(parameters, prompt=(0,))
    assert [sampler(logits) for _ in range(3)] == [1, 0, 0]  # 1.0 and 0.75 against each other, never a negative one
    unlikely = np.array([-1.0, -1.5, -1.9], np.float32)
    assert Sampler(parameters, prompt=(0,))(unlikely) == 1  # a negative logit is multiplied


def test_logit_bias_forbids_and_forces():
    assert set(draw(200, seed=1, logit_bias=((0, -100.0),))) == {1, 2, 3, 4}
    assert set(draw(200, seed=1, logit_bias=((3, 100.0),))) == {3}
    assert set(draw(5, temperature=0, logit_bias=((4, 1.0),))) == {4}
    weaker = np.bincount(draw(4000, seed=1, logit_bias=((0, -np.log(2.0)), (4, np.log(2.0)))), minlength=5)
    expected = PROBABILITIES * [0.5, 1, 1, 1, 2]
    assert np.abs(weaker / 4000 - expected / expected.sum()).max() < 0.03


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_only_allowed_tokens(temperature):
    sampler = Sampler(SamplingParameters(temperature=temperature, seed=1))
    allowed = np.array([False, True, False, True, False])
    assert {sampler(LOGITS, allowed) for _ in range(200)} == ({1} if temperature == 0 else {1, 3})


@pytest.mark.parametrize(
    ("parameters", "plain"),
    [
        ({"temperature": 0}, True),
        ({"top_k": 1}, True),
        ({}, False),
        ({"temperature": 0, "logit_bias": ((1, 1.0),)}, False),
        ({"temperature": 0, "repetition_penalty": 1.1}, False),
        ({"temperature": 0, "presence_penalty": 0.1}, False),
    ],
)
def test_what_is_plain(parameters, plain):
    """Plain means: always the likeliest token, so that a whole batch can be drawn by one argmax."""
    assert Sampler(SamplingParameters(**parameters)).plain is plain


@given(st.lists(st.floats(-20, 5, width=32), min_size=1, max_size=30), st.floats(0.01, 0.99))
def test_the_nucleus_is_the_fewest_that_reach_p(values, top_p):
    weights = np.exp(np.array(values))
    least = sampling._nucleus(weights, top_p)
    assert weights[weights >= least].sum() >= top_p * weights.sum() * (1 - 1e-12)
    assert weights[weights > least].sum() <= top_p * weights.sum() * (1 + 1e-12)


@given(
    st.lists(st.sampled_from([0.0, 1e-6, 0.25, 1.0, 1.5]), min_size=1, max_size=700), st.floats(0, 1, exclude_max=True)
)
def test_a_point_of_the_running_sum_is_picked(values, point):
    weights = np.array([1.0, *values], np.float32)
    index = sampling._pick(weights, point)
    cumulative = np.cumsum(weights, dtype=np.float64)
    assert weights[index] > 0
    assert cumulative[index] >= point * cumulative[-1] - 1e-9
    assert cumulative[index] - weights[index] <= point * cumulative[-1] + 1e-9


def test_the_whole_of_a_large_vocabulary_is_drawn_from():
    logits = np.log(np.tile(PROBABILITIES, 300)).astype(np.float32)
    sampler = Sampler(SamplingParameters(seed=2))
    drawn = np.array([sampler(logits) for _ in range(4000)])
    assert np.abs(np.bincount(drawn % 5, minlength=5) / 4000 - PROBABILITIES).max() < 0.03
    assert len(np.unique(drawn // 50)) == 30


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_refused(temperature, bad):
    logits = LOGITS.copy()
    logits[2] = bad
    with pytest.raises(ValueError, match="not finite"):
        Sampler(SamplingParameters(temperature=temperature))(logits)


def test_impossible_tokens_are_never_drawn():
    logits = np.array([-np.inf, 0.0, -np.inf, 0.0], np.float32)
    sampler = Sampler(SamplingParameters(seed=1))
    assert {sampler(logits) for _ in range(200)} == {1, 3}


@given(st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=20))
def test_log_softmax(values):
    logits = np.array(values, np.float32)
    exact = logits.astype(np.float64) - np.log(np.exp(logits.astype(np.float64) - logits.max()).sum()) - logits.max()
    assert np.allclose(log_softmax(logits), exact, atol=1e-4)


def test_likeliest_in_order():
    assert likeliest(LOGITS, 3) == [0, 2, 4]
    assert likeliest(LOGITS, 0) == []
    assert len(likeliest(LOGITS, 99)) == 5
