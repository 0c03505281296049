"""The engine under many requests: whose turn it is, who is turned away, who leaves, and when time is up."""

import asyncio
import random
import re
import threading
import time

import pytest

from serving.engines.decode.engine import Engine
from serving.engines.decode.grammar import Grammar, Matcher
from serving.engines.decode.sampling import SamplingParameters
from serving.engines.decode.sequence import FinishEvent, Request
from serving.http.errors import ApiError
from tests.serving.engines.decode.engines import collect, greedy, request, tokens


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


def test_retry_after_is_counted_in_completions(make):
    """Not in requests: this one took 600 s, each of its completions had its slot for 20 s."""
    engine = make(slots=2, queue=3, start=False)

    async def main() -> None:
        engine._seconds = 20.0
        stream = engine.submit(request(n=2))
        runs = [run for run, _ in engine._scheduler.admit(engine._fail)]
        stream.started = time.monotonic() - 600
        for run in runs:
            run.taken -= 20
            run.sequence.reason = "stop"
            engine._finish(run)
        assert stream.completed == 2
        engine.submit(request(n=5))
        engine._scheduler.admit(engine._fail)  # two have a slot, three wait
        refusal = engine.refusal()
        assert refusal
        assert refusal.headers["Retry-After"] == "40"  # with one more there are four, two for each slot

    asyncio.run(main())


def test_no_queue_still_serves_what_has_a_slot(make):
    engine = make(queue=0)

    async def main() -> None:
        assert await asyncio.gather(*(collect(engine, request()) for _ in range(4)))
        streams = [engine.submit(request(max_tokens=4)) for _ in range(4)]
        with pytest.raises(ApiError, match="are waiting already"):
            engine.submit(request())
        for stream in streams:
            async with stream:
                assert [event async for event in stream]

    asyncio.run(main())


def test_what_a_request_still_wants_counts_as_waiting(make, scripted):
    """Else requests for several choices would all be begun, and each would wait for all the others' next ones."""
    engine = make(queue=3, slots=2, folder=scripted)

    async def main() -> None:
        async with engine.submit(request(n=5, max_tokens=1000)) as first:
            await anext(first)  # two of its choices run, three wait
            with pytest.raises(ApiError, match="3 completions are waiting"):
                engine.submit(request())
        async with engine.submit(request(n=4, max_tokens=1000)) as first:
            await anext(first)
            async with engine.submit(request(n=9)):  # two wait: it is let in, however much it wants
                with pytest.raises(ApiError, match="11 completions are waiting"):
                    engine.submit(request())

    asyncio.run(main())


def test_a_free_slot_is_no_room_when_the_cache_is_full(make, scripted):
    engine = make(queue=1, slots=4, kv_tokens=2048, folder=scripted)
    long = request(max_tokens=1000)

    async def main() -> None:
        async with engine.submit(long) as first, engine.submit(long) as second:
            await anext(first)
            await anext(second)  # two of four slots, and nearly all of the cache
            async with engine.submit(long):
                with pytest.raises(ApiError, match="1 completions are waiting"):
                    engine.submit(long)

    asyncio.run(main())


def hold_the_compiler(engine: Engine) -> threading.Event:
    """No grammar is compiled until the event is set."""
    go, compile_one = threading.Event(), engine._grammars.compile

    def held(grammar: Grammar) -> Matcher:
        assert go.wait(10)
        return compile_one(grammar)

    engine._grammars.compile = held  # type: ignore[method-assign]
    return go


def test_all_choices_of_a_grammar_that_is_being_compiled_wait(make):
    engine = make(queue=8)
    go = hold_the_compiler(engine)
    many = request(n=16, grammar=Grammar("regex", "[a-z]{3}"), ignore_eos=False)

    async def main() -> None:
        task = asyncio.create_task(collect(engine, many))
        await asyncio.sleep(0)
        with pytest.raises(ApiError, match="16 completions are waiting"):
            engine.submit(many)
        go.set()
        assert sum(isinstance(event, FinishEvent) for event in await task) == 16

    asyncio.run(main())


def test_what_is_being_compiled_wants_room_in_the_cache(make):
    """Two slots of four would stay free, but the cache holds two of these."""
    engine = make(queue=1, kv_tokens=128)
    go = hold_the_compiler(engine)
    long = request(max_tokens=60, grammar=Grammar("regex", "[a-z]{3}"), ignore_eos=False)

    async def main() -> None:
        tasks = [asyncio.create_task(collect(engine, long)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(ApiError, match="2 completions are waiting"):
            engine.submit(long)
        go.set()
        assert all(await asyncio.gather(*tasks))

    asyncio.run(main())


def test_a_client_that_leaves_while_its_grammar_is_compiled_makes_room(make):
    engine = make(queue=0)
    go = hold_the_compiler(engine)

    async def main() -> None:
        async with engine.submit(request(n=4, grammar=Grammar("regex", "[a-z]{3}"))):
            assert engine.refusal()
        assert engine.refusal() is None
        go.set()

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
