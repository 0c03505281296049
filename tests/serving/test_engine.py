"""The engine on a real graph: what it generates, in which order, and how it stops."""

import asyncio
import random
import re
import time

import numpy as np
import pytest
import tiny_bundle

from serving import drift
from serving.bundle import Bundle
from serving.drift import Drift
from serving.engine import Engine
from serving.errors import ApiError
from serving.grammar import Grammar
from serving.graph import Graph
from serving.sampling import SamplingParameters, log_softmax
from serving.sequence import FinishEvent, Request, TokenEvent
from serving.text import Vocabulary

GREEDY = SamplingParameters(temperature=0)
PROMPT = (85, 70, 2, 90, 85, 70, 33, 12, 99)


class Recorder:
    """Keeps what the engine reports."""

    def __init__(self) -> None:
        self.seen: list[tuple] = []

    def __getattr__(self, name):
        return lambda *values: self.seen.append((name, *values))

    def named(self, name: str) -> list[tuple]:
        return [values for kind, *values in self.seen if kind == name]


@pytest.fixture
def make(bundle):
    made: list[Engine] = []

    def engine(slots: int = 4, start: bool = True, folder=bundle, precision: str = "fp32", **options) -> Engine:
        loaded = Bundle.load(folder, precision)
        vocabulary = Vocabulary(loaded.path / "tokenizer.json", loaded.vocab_size)
        options = {"queue": 8, "deadline": 20.0, "chunk": 16} | options
        engine = Engine(Graph(loaded, 1, slots), vocabulary, loaded.eos, Recorder(), Drift(loaded.reference), **options)
        made.append(engine)
        if start:
            engine.start()
        return engine

    yield engine
    for engine in made:  # whatever a test did, nothing is left behind
        deadline = time.monotonic() + 10
        while not engine.idle and engine.alive and time.monotonic() < deadline:
            time.sleep(0.01)
        if engine.alive:
            assert engine.idle
            assert engine._slots.free == engine._slots.count
            assert engine._slots.reserved == 0
            assert not engine._scheduler.matchers
            assert engine._metrics.named("running")[-1] == [0, 0]
            assert [engine._metrics.named(name)[-1] for name in ("queued", "active")] == [[0], [0]]


@pytest.fixture(autouse=True)
def every_prompt_is_scored(monkeypatch):
    monkeypatch.setattr(drift, "SPACING", 0.0)


def request(prompt: tuple[int, ...] = PROMPT, **values) -> Request:
    values = {"max_tokens": 8, "sampling": GREEDY, "ignore_eos": True} | values
    return Request(id="test", prompts=values.pop("prompts", (prompt,)), **values)


async def collect(engine: Engine, wanted: Request) -> list:
    async with asyncio.timeout(20):
        async with engine.submit(wanted) as stream:
            return [event async for event in stream]


def tokens(events: list, choice: int = 0) -> list[int]:
    return [e.token for e in events if isinstance(e, TokenEvent) and e.choice == choice and not e.prompt]


def greedy(bundle, prompt: tuple[int, ...], count: int, context: int = 64) -> list[int]:
    """Token by token with whole, uncached calls; past the context, from its last half."""
    window, made = list(prompt), []
    for _ in range(count):
        if len(window) > context:
            window = window[-(context // 2) :]
        made.append(int(tiny_bundle.full_logits(bundle, window, context)[-1].argmax()))
        window.append(made[-1])
    return made


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


def test_requests_take_turns(make):
    """One slot: a request for three choices lets the other one in after its first."""
    engine, order = make(slots=1, start=False), []
    prefill = engine._prefill

    def watched(run) -> None:
        order.append((len(run.window), run.sequence.choice))
        prefill(run)

    engine._prefill = watched

    async def main() -> None:
        tasks = [asyncio.create_task(collect(engine, each)) for each in (request(n=3), request((5, 6)))]
        await asyncio.sleep(0)  # both are queued before the engine starts
        engine.start()
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert order == [(9, 0), (2, 0), (9, 1), (9, 2)]


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


@pytest.mark.parametrize("choice_running", [True, False])
def test_a_client_that_leaves_stops_generation(make, scripted, choice_running):
    """Both while it is generated and while it waits."""
    engine = make(folder=scripted)

    async def main() -> None:
        async with engine.submit(request(max_tokens=1000)) as first:
            await anext(first)
            if not choice_running:
                async with engine.submit(request(max_tokens=1000)):
                    pass
        deadline = time.monotonic() + 10
        while not engine.idle and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        made = engine.generated
        assert made < 500
        await asyncio.sleep(0.2)
        assert engine.generated == made
        assert len(engine._metrics.named("cancelled")) == (1 if choice_running else 2)
        assert tokens(await collect(engine, request((1,), max_tokens=3)))  # and it goes on with others

    asyncio.run(main())


def test_a_full_queue_turns_away(make, scripted):
    engine = make(queue=2, slots=1, folder=scripted)

    async def main() -> None:
        running = engine.submit(request(max_tokens=1000))
        await anext(running)
        waiting = [engine.submit(request()), engine.submit(request())]
        with pytest.raises(ApiError) as caught:
            engine.submit(request())
        assert caught.value.status == 429
        assert int(caught.value.headers["Retry-After"]) >= 1
        async with waiting[0]:
            pass  # it leaves, and makes room
        async with engine.submit(request()):
            pass
        async with running, waiting[1]:
            pass

    asyncio.run(main())


def test_no_queue_still_serves_what_has_a_slot(make):
    engine = make(queue=0)

    async def main() -> None:
        assert await asyncio.gather(*(collect(engine, request()) for _ in range(4)))
        streams = [engine.submit(request(max_tokens=4)) for _ in range(4)]
        with pytest.raises(ApiError, match="requests are waiting"):
            engine.submit(request())
        for stream in streams:
            async with stream:
                assert [event async for event in stream]

    asyncio.run(main())


@pytest.mark.parametrize("waiting", [False, True])
def test_the_deadline_ends_a_request(make, scripted, waiting):
    engine = make(deadline=0.3, folder=scripted)

    async def main() -> None:
        started = time.monotonic()
        many = request(n=8, max_tokens=1000)
        requests = [many, request()] if waiting else [many]
        results = await asyncio.gather(*(collect(engine, each) for each in requests), return_exceptions=True)
        assert [error.status for error in results if isinstance(error, ApiError)][:1] == [504]
        assert time.monotonic() - started < 5
        assert not engine._metrics.named("cancelled")

    asyncio.run(main())


def test_a_request_may_want_a_shorter_deadline_but_no_longer_one(make, scripted):
    engine = make(folder=scripted, deadline=1.0)

    async def main() -> None:
        for wanted, told in ((0.2, "0.2 s"), (60.0, "1 s")):
            with pytest.raises(ApiError, match=told) as caught:
                await collect(engine, request(n=8, max_tokens=1000, deadline=wanted))
            assert caught.value.status == 504

    asyncio.run(main())


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


def test_the_cache_budget_lets_in_what_fits(make, bundle):
    """Four slots, but room for two of these at a time; all are answered, in order, as if each were alone."""
    engine = make(kv_tokens=64)
    prompts = [tuple(range(20 * i + 1, 20 * i + 21)) for i in range(5)]

    async def main() -> None:
        answers = await asyncio.gather(*(collect(engine, request(each, max_tokens=12)) for each in prompts))
        for prompt, events in zip(prompts, answers, strict=True):
            assert tokens(events) == greedy(bundle, prompt, 12)

    asyncio.run(main())
    running = engine._metrics.named("running")
    assert max(sequences for sequences, _ in running) == 2
    assert max(reserved for _, reserved in running) == 64


def test_a_shared_beginning_is_computed_once(make, bundle):
    engine = make(chunk=16)
    system = tuple(int(t) for t in np.random.default_rng(3).integers(1, 263, 40))
    computed = []
    extend = engine._graph.extend
    engine._graph.extend = lambda *values: (computed.append(len(values[1])), extend(*values))[1]

    async def main() -> None:
        prompts = [(*system, i, i + 1) for i in range(1, 7)]
        assert tokens(await collect(engine, request(prompts[0]))) == greedy(bundle, prompts[0], 8)
        answers = await asyncio.gather(*(collect(engine, request(each)) for each in prompts[1:]))
        for prompt, events in zip(prompts[1:], answers, strict=True):
            assert tokens(events) == greedy(bundle, prompt, 8)

    asyncio.run(main())
    assert sum(computed) == 42 + 5 * 10
    assert [tokens for (tokens,) in engine._metrics.named("prefix")] == [0] + [32] * 5


@pytest.mark.parametrize(("rounds", "sizes"), [(False, [40]), (True, [16, 16, 8])])
def test_prompts_are_cut_alike_where_the_cache_rounds(make, rounds, sizes):
    """Else a token would see its neighbours rounded or not, depending on who else runs."""
    engine, computed = make(chunk=16, start=False), []
    engine._graph.rounds = rounds
    extend = engine._graph.extend
    engine._graph.extend = lambda *values: (computed.append(len(values[1])), extend(*values))[1]
    engine.start()
    asyncio.run(collect(engine, request(tuple(range(1, 41)))))
    assert computed == sizes


def test_a_stream_is_moved_when_others_leave(make, bundle):
    engine = make(slots=4)
    moved = []
    move = engine._slots.move
    engine._slots.move = lambda *values: (moved.append(values), move(*values))[1]

    async def main() -> None:
        short = [request((i, i + 1), max_tokens=5) for i in range(1, 4)]
        answers = await asyncio.gather(*(collect(engine, each) for each in [*short, request(max_tokens=40)]))
        assert tokens(answers[-1]) == greedy(bundle, PROMPT, 40)

    asyncio.run(main())
    # Three left, so it ran alone, and there was no hole: only a second one on the other side makes one.
    assert moved == []

    async def other_side() -> None:
        long = [request(PROMPT, max_tokens=40), request((5, 6), max_tokens=3), request((7, 8, 9), max_tokens=40)]
        answers = await asyncio.gather(*(collect(engine, each) for each in long))
        assert tokens(answers[0]) == greedy(bundle, PROMPT, 40)
        assert tokens(answers[2]) == greedy(bundle, (7, 8, 9), 40)

    asyncio.run(other_side())
    assert len(moved) == 1


def test_abort_ends_what_runs_and_what_waits(make, scripted):
    engine = make(folder=scripted)

    async def main() -> None:
        async with engine.submit(request(max_tokens=1000)) as stream:
            await anext(stream)
            waiting = engine.submit(request())
            engine.abort()
            for each in (stream, waiting):
                with pytest.raises(ApiError, match="shutting down"):
                    async for _ in each:
                        pass
            with pytest.raises(ApiError, match="shutting down"):
                engine.submit(request())

    asyncio.run(main())


def test_one_broken_request_breaks_no_other(make):
    engine = make()
    decode = engine._graph.decode

    def broken(first, tokens, positions):
        logits = decode(first, tokens, positions)
        logits[np.array(positions) < 9] = np.nan  # the short one's row
        return logits

    engine._graph.decode = broken

    async def main() -> None:
        bad, good = await asyncio.gather(
            collect(engine, request((7, 8), n=2)), collect(engine, request()), return_exceptions=True
        )
        assert (bad.status, len(tokens(good))) == (500, 8)
        engine._graph.decode = decode
        assert len(tokens(await collect(engine, request((7, 8))))) == 8
        assert engine.ready

    asyncio.run(main())


def test_a_failed_step_ends_what_runs_and_nothing_else(make):
    """The graph fails once with four running and two waiting: four get a 500, two their answer, as does the next."""
    engine = make(start=False)
    decode, seen = engine._graph.decode, []

    def broken(first, tokens, positions):
        if len(tokens) == 4 and not seen:
            seen.append(engine.ready)
            raise RuntimeError("out of memory")
        return decode(first, tokens, positions)

    warm_up = engine._graph.warm_up

    def watched() -> None:
        seen.append(engine.ready)
        warm_up()

    engine._graph.decode, engine._graph.warm_up = broken, watched

    async def main() -> None:
        wanted = [collect(engine, request(max_tokens=30)) for _ in range(6)]
        tasks = [asyncio.create_task(each) for each in wanted]
        await asyncio.sleep(0)
        engine.start()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [getattr(result, "status", None) for result in results] == [500] * 4 + [None] * 2
        expected = tokens(results[4])
        assert tokens(results[5]) == expected == tokens(await collect(make(), request(max_tokens=30)))
        assert len(engine._metrics.named("restarted")) == 1
        assert engine.ready

    asyncio.run(main())
    assert seen == [True, False]  # not ready until the graph has answered again


def test_it_stays_unready_while_the_graph_fails(make):
    engine = make()
    extend = engine._graph.extend

    def broken(*_):
        raise RuntimeError("gone")

    engine._graph.extend = broken

    async def main() -> None:
        with pytest.raises(ApiError) as caught:
            await collect(engine, request())
        assert caught.value.status == 500
        waiting = asyncio.create_task(collect(engine, request()))
        await asyncio.sleep(0.3)
        assert engine.alive
        assert not engine.ready
        assert not waiting.done()
        engine._graph.extend = extend
        assert len(tokens(await waiting)) == 8
        assert engine.ready

    asyncio.run(main())


def test_what_is_counted(make):
    engine = make()
    long = tuple(range(20, 50))
    asyncio.run(collect(engine, request(prompts=(long, PROMPT, (5, 6)), n=2, max_tokens=4)))
    seen = engine._metrics
    assert [tokens_in for _, tokens_in in seen.named("started")] == [30 + 9 + 2]
    assert seen.named("capacity") == [[4, 4 * 64]]
    assert sum(size for (size,) in seen.named("batch")) == 6 * 3
    assert max(size for (size,) in seen.named("batch")) > 1
    assert sorted(tokens for (tokens,) in seen.named("prefix")) == [0, 0, 0, 0, 0, 16]  # a whole chunk of the long one
    assert len(seen.named("first_token")) == 1
    assert len(seen.named("token")) == 6 * 4
    assert len([seconds for (seconds,) in seen.named("token") if seconds is not None]) == 6 * 3
    assert len(seen.named("prompt")) == 2  # the third is too short to say anything
    assert [each for each in seen.seen if each[0] in ("queued", "active")][-2:] == [("queued", 0), ("active", 0)]


def test_prompt_loss_is_the_models_own(make, bundle):
    engine = make()
    asyncio.run(collect(engine, request()))
    logprobs = log_softmax(tiny_bundle.full_logits(bundle, list(PROMPT), 64))
    expected = -np.mean([logprobs[i][token] for i, token in enumerate(PROMPT[1:])])
    assert engine._metrics.named("prompt")[0][0] == pytest.approx(expected, abs=1e-4)


def test_many_mixed_requests(make, bundle):
    """200 requests of all kinds, a fifth of whose clients leave: the others get what they would get alone."""
    engine = make(slots=6, queue=300, kv_tokens=200, chunk=16, speculative=3)
    chance = random.Random(0)
    shared = tuple(chance.randint(1, 262) for _ in range(34))
    alone = {}

    def any_request() -> Request:
        prompt = tuple(chance.randint(1, 262) for _ in range(chance.choice([1, 2, 17, 30])))
        prompt = (*shared, *prompt)[:60] if chance.random() < 0.5 else prompt
        kind = chance.random()
        if kind < 0.1:
            return request(prompt, grammar=Grammar("regex", "[a-z]{3}"), max_tokens=10, ignore_eos=False)
        if kind < 0.2:
            return request(prompt, max_tokens=0, echo=True, logprobs=0)
        sampled = SamplingParameters(temperature=chance.choice([0, 1.0]), seed=chance.randint(0, 9))
        return request(prompt, n=chance.choice([1, 1, 1, 3]), max_tokens=chance.randint(1, 80), sampling=sampled)

    async def client(wanted: Request) -> None:
        await asyncio.sleep(chance.random())
        leaves = chance.random() < 0.2
        events = []
        async with asyncio.timeout(60), engine.submit(wanted) as stream:
            async for event in stream:
                events.append(event)
                if leaves and len(events) > 2:
                    return
        finished = [event for event in events if isinstance(event, FinishEvent)]
        assert sorted(event.choice for event in finished) == list(range(wanted.n))
        if wanted.grammar:
            assert re.fullmatch("[a-z]{3}", "".join(event.text for event in events))
        elif wanted.max_tokens:
            assert all(len(tokens(events, choice)) == wanted.max_tokens for choice in range(wanted.n))
        if wanted.sampling.temperature == 0 and not wanted.grammar and wanted.max_tokens <= 20:
            alone[wanted.prompts[0], wanted.max_tokens] = tokens(events)

    async def main() -> None:
        await asyncio.gather(*(client(any_request()) for _ in range(200)))

    asyncio.run(main())
    assert len(alone) > 10
    for (prompt, count), made in alone.items():
        assert made == (greedy(bundle, prompt, count) if count else [])
    assert sum(tokens for (tokens,) in engine._metrics.named("prefix")) > 0
    assert max(reserved for _, reserved in engine._metrics.named("running")) <= 200
