"""The engine on a real graph: what it generates."""

import asyncio
import re

import numpy as np
import pytest

from serving.engines.decode.grammar import Grammar
from serving.engines.decode.sampling import SamplingParameters, log_softmax
from serving.engines.decode.sequence import FinishEvent, TokenEvent
from serving.http.errors import ApiError
from tests.serving import tiny_bundle
from tests.serving.engines.decode.engines import PROMPT, collect, greedy, request, tokens


def test_greedy_is_what_uncached_calls_give(make, bundle):
    events = asyncio.run(collect(make(), request(max_tokens=20)))
    assert tokens(events) == greedy(bundle, PROMPT, 20)
    assert events[-1].reason == "length"


def test_it_goes_on_past_the_context(make, bundle):
    events = asyncio.run(collect(make(), request(max_tokens=140)))
    assert tokens(events) == greedy(bundle, PROMPT, 140)


def test_a_prompt_as_long_as_the_context(make, bundle):
    prompt = tuple(int(t) for t in np.random.default_rng(0).integers(1, 263, 64))
    events = asyncio.run(collect(make(), request(prompt, max_tokens=3)))
    assert tokens(events) == greedy(bundle, prompt, 3)


def test_a_seed_repeats_whatever_else_runs(make):
    engine = make()
    sampled = SamplingParameters(temperature=1.0, seed=5)

    async def main() -> None:
        alone = tokens(await collect(engine, request(sampling=sampled, max_tokens=30)))
        wanted = [request(sampling=sampled, max_tokens=30), request((3, 4), max_tokens=30), request((9,), n=3)]
        among = await asyncio.gather(*(collect(engine, each) for each in wanted))
        assert tokens(among[0]) == alone

    asyncio.run(main())


def test_choices_share_a_prompt_and_differ(make):
    engine = make()
    sampled = SamplingParameters(temperature=1.0, seed=5)
    events = asyncio.run(collect(engine, request(prompts=(PROMPT, (7, 8, 9)), n=3, sampling=sampled)))
    made = [tuple(tokens(events, choice)) for choice in range(6)]
    assert len(set(made)) == 6
    assert sorted(e.choice for e in events if isinstance(e, FinishEvent)) == [0, 1, 2, 3, 4, 5]
    one = asyncio.run(collect(make(), request(sampling=sampled)))
    assert tuple(tokens(one)) == made[0]


def test_stop_string_and_end_of_text(make, scripted, bundle):
    text = "Fellow citizens: naïve café, 😀"
    engine = make(folder=scripted)
    events = asyncio.run(collect(engine, request((1,), max_tokens=200, stop=("ns: na", "zzz"))))
    shown = "".join(e.text for e in events)
    assert shown == text[1 : text.index("ns: na")]
    assert events[-1].reason == "stop"
    assert len(tokens(events)) == len("ellow citizens: na")
    logits = tiny_bundle.full_logits(bundle, list(PROMPT), 64)[-1]
    engine = make()
    engine._scheduler._eos = {int(logits.argmax())}  # as if the first token ended the text
    events = asyncio.run(collect(engine, request(ignore_eos=False)))
    assert (len(tokens(events)), events[-1].reason, events[-1].text) == (1, "stop", "")


def test_log_probabilities_and_echo(make, bundle):
    events = asyncio.run(collect(make(), request(max_tokens=4, logprobs=3, echo=True)))
    everything = [e for e in events if isinstance(e, TokenEvent)]
    sequence = [e.token for e in everything]
    assert sequence[: len(PROMPT)] == list(PROMPT)
    assert everything[0].logprob is None
    expected = log_softmax(tiny_bundle.full_logits(bundle, sequence, 64))
    for position, event in enumerate(everything[1:]):
        assert event.logprob == pytest.approx(expected[position][event.token], abs=1e-4)
        assert [token for token, _ in event.top] == np.argsort(-expected[position])[:3].tolist()


def test_scoring_only(make):
    events = asyncio.run(collect(make(), request(max_tokens=0, logprobs=0, echo=True)))
    assert [e.prompt for e in events[:-1]] == [True] * len(PROMPT)
    assert events[-1].reason == "length"


def test_a_grammar_is_followed(make):
    engine = make()
    sampled = SamplingParameters(temperature=1.0, seed=1)

    async def main() -> None:
        grammar = Grammar("regex", "(yes|no), [0-9]{2}!")
        wanted = request(grammar=grammar, sampling=sampled, max_tokens=40, n=3, ignore_eos=False)
        free = request(max_tokens=40)
        answers, other = await asyncio.gather(collect(engine, wanted), collect(engine, free))
        for choice in range(3):
            text = "".join(e.text for e in answers if e.choice == choice)
            assert re.fullmatch("(yes|no), [0-9]{2}!", text)
        assert {e.reason for e in answers if isinstance(e, FinishEvent)} == {"stop"}
        assert tokens(other) == tokens(await collect(make(), free))
        cut = await collect(engine, request(grammar=grammar, max_tokens=2))
        assert cut[-1].reason == "length"

    asyncio.run(main())


def test_a_wrong_grammar_is_a_400_and_takes_nothing(make):
    engine = make()

    async def main() -> None:
        with pytest.raises(ApiError) as caught:
            await collect(engine, request(grammar=Grammar("regex", "(")))
        assert caught.value.status == 400
        assert engine.idle

    asyncio.run(main())


def test_what_is_counted(make):
    engine = make()
    long = tuple(range(20, 50))
    asyncio.run(collect(engine, request(prompts=(long, PROMPT, (5, 6)), n=2, max_tokens=4)))
    seen = engine._metrics
    assert [tokens_in for _, tokens_in in seen.named("started")] == [30 + 9 + 2]
    assert seen.named("capacity") == [[4, 4 * 64]]
    batches = [size for sizes, _ in seen.named("steps") for size in sizes]
    assert sum(batches) == 6 * 3
    assert max(batches) > 1
    assert sorted(tokens for (tokens,) in seen.named("prefix")) == [0, 0, 0, 0, 0, 16]  # a whole chunk of the long one
    assert len(seen.named("first_token")) == 1
    gaps = [seconds for _, drawn in seen.named("steps") for seconds in drawn]
    assert len(gaps) == 6 * 4
    assert len([seconds for seconds in gaps if seconds is not None]) == 6 * 3
    assert len(seen.named("prompt")) == 2  # the third is too short to say anything
    assert [each for each in seen.seen if each[0] in ("queued", "active")][-2:] == [("queued", 0), ("active", 0)]


def test_prompt_loss_is_the_models_own(make, bundle):
    engine = make()
    asyncio.run(collect(engine, request()))
    logprobs = log_softmax(tiny_bundle.full_logits(bundle, list(PROMPT), 64))
    expected = -np.mean([logprobs[i][token] for i, token in enumerate(PROMPT[1:])])
    assert engine._metrics.named("prompt")[0][0] == pytest.approx(expected, abs=1e-4)
