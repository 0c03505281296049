"""The engine when the graph fails: who gets an error, who does not, and when it is ready again."""

import asyncio

import numpy as np
import pytest

from serving.engines.decode.grammar import Grammar, Grammars, Matcher
from serving.http.errors import ApiError
from tests.serving.engines.decode.engines import collect, request, tokens


def test_one_broken_request_breaks_no_other(make):
    engine = make()
    decode = engine._graph.decode

    def broken(first, tokens, positions, *rest):
        logits = decode(first, tokens, positions, *rest)
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


@pytest.mark.parametrize("forks", [0, 1])
def test_a_request_that_cannot_begin_is_told_so_at_once(make, forks):
    """Its grammar's matcher cannot be copied: for its first choice, or once the first runs. Nobody else sees it."""
    engine, compile_one = make(), Grammars.compile

    def breaking(grammar: Grammar) -> Matcher:
        matcher, left = compile_one(engine._grammars, grammar), [True] * forks
        fork = matcher.fork

        def broken() -> Matcher:
            if not left:
                raise RuntimeError("out of memory")
            left.pop()
            return fork()

        matcher.fork = broken  # type: ignore[method-assign]
        return matcher

    engine._grammars.compile = breaking

    async def main() -> None:
        bad = request(n=2, grammar=Grammar("regex", "[a-z]{3}"), ignore_eos=False)
        results = await asyncio.gather(
            collect(engine, request(max_tokens=30)), collect(engine, bad), return_exceptions=True
        )
        assert [getattr(result, "status", None) for result in results] == [None, 500]
        assert len(tokens(results[0])) == 30
        assert len(tokens(await collect(engine, request()))) == 8
        assert engine.ready
        assert not engine._metrics.named("restarted")

    asyncio.run(main())


def test_a_failed_step_ends_what_runs_and_nothing_else(make):
    """The graph fails once with four running and two waiting: four get a 500, two their answer, as does the next."""
    engine = make(start=False)
    decode, seen = engine._graph.decode, []

    def broken(first, tokens, positions, *rest):
        if len(tokens) == 4 and not seen:
            seen.append(engine.ready)
            raise RuntimeError("out of memory")
        return decode(first, tokens, positions, *rest)

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
