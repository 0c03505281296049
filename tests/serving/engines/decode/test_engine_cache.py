"""The engine and its cache: what fits, what is computed once, how prompts are cut, what is moved."""

import asyncio

import numpy as np

from tests.serving.engines.decode.engines import PROMPT, collect, greedy, request, tokens


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


def test_a_prompt_is_cut_shorter_while_others_wait_for_their_next_token(make):
    engine, computed = make(chunk=16, start=False), []
    extend = engine._graph.extend
    engine._graph.extend = lambda *values: (computed.append(len(values[1])), extend(*values))[1]
    engine.start()

    async def main() -> None:
        await collect(engine, request(tuple(range(1, 41))))
        assert computed == [40]
        both = request((50, 51), max_tokens=60), request(tuple(range(60, 100)))
        await asyncio.gather(*(collect(engine, each) for each in both))

    asyncio.run(main())
    assert computed == [40, 2, 16, 16, 8]


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
