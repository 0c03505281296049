"""Sequences with adapters of their own in one engine: each gets what it gets alone, whoever is beside it."""

import asyncio

import numpy as np
import pytest

from serving.engines.decode.adapter_bundle import AdapterBundle
from serving.engines.decode.adapters import NONE, Adapter, Bank
from serving.engines.decode.bundle import DecoderBundle
from serving.engines.decode.cache import Slots
from serving.engines.decode.engine import Engine
from serving.engines.decode.graph import Graph
from serving.engines.decode.sequence import TokenEvent
from tests.serving.engines.decode import engines

LOUD, LOW = Adapter(1, "loud:1"), Adapter(2, "low:1")
PROMPTS = [tuple(range(3, 3 + length)) for length in (20, 33, 7, 40)]
"""Which begin alike, two of them with whole chunks in common."""


def build(adapted, precision: str, slots: int) -> Engine:
    base, loud, low = adapted
    made = engines.build(base, precision, slots=slots, queue=64, threads=2)
    for adapter, folder in ((LOUD, loud), (LOW, low)):
        made.bank.put(adapter.row, AdapterBundle.load(folder).weights(precision))
    made.start()
    return made


async def generate(made: Engine, prompt, adapter: Adapter) -> list[tuple[int, float]]:
    wanted = engines.request(prompt, adapter=adapter, logprobs=0, max_tokens=6)
    async with asyncio.timeout(60), made.submit(wanted) as stream:
        return [(event.token, event.logprob) async for event in stream if isinstance(event, TokenEvent)]


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_each_gets_what_it_gets_alone(adapted, precision) -> None:
    wanted = [(prompt, adapter) for prompt in PROMPTS for adapter in (NONE, LOUD, LOW)]
    alone = []
    for prompt, adapter in wanted:
        alone.append(asyncio.run(generate(build(adapted, precision, 1), prompt, adapter)))

    async def together(made: Engine) -> list:
        return await asyncio.gather(*(generate(made, *each) for each in wanted))

    made = build(adapted, precision, 12)
    for _ in range(2):  # the second time all of them find the beginnings of their prompts in the cache
        assert asyncio.run(together(made)) == alone
    assert asyncio.run(together(build(adapted, precision, 2))) == alone
    assert len({tuple(each) for each in alone}) == len(alone)  # each adapter says something else
    assert sum(tokens for (tokens,) in made._metrics.named("prefix")) > 0


def test_the_cache_of_one_adapter_is_of_no_use_to_another(adapted) -> None:
    made = build(adapted, "int8", 4)
    for adapter, found in ((NONE, 0), (LOUD, 0), (LOW, 0), (LOUD, 32), (NONE, 32)):
        asyncio.run(generate(made, PROMPTS[1], adapter))
        assert made._metrics.named("prefix")[-1] == [found], adapter


def test_only_the_base_s_own_requests_are_compared_with_another_release(adapted) -> None:
    made, told = build(adapted, "int8", 2), []
    made.exchanged = told.append
    for adapter in (LOUD, NONE):
        asyncio.run(generate(made, PROMPTS[0], adapter))
    assert [each.request.adapter for each in told] == [NONE]


def test_slots_know_whose_beginning_they_hold() -> None:
    slots = Slots(3, 64, 4, 192)
    prompt = tuple(range(10))
    slots.holds(0, prompt, "a:1")
    assert slots.match(prompt, 1) == (1, 0)
    assert slots.match(prompt, 1, "b:1") == (1, 0)
    assert slots.match(prompt, 1, "a:1") == (0, 8)
    slots.take(prompt, 10)
    slots.holds(2, prompt, "a:1")
    slots.move(2, 1)
    assert slots.match(prompt, 0, "a:1")[1] == 8
    slots.clear()
    assert slots.match(prompt, 0, "a:1") == (0, 0)


def test_an_adapter_is_changed_without_loading_the_graph_again(adapted) -> None:
    base, loud, low = adapted
    graph = Graph(DecoderBundle.load(base, "int8"), threads=1, slots=2)
    tokens, last = np.arange(3, 12), np.array([8])

    def after(*rows: int) -> list[np.ndarray]:
        prompts = [graph.extend(slot, tokens, 0, last, row).copy() for slot, row in enumerate(rows)]
        return [*prompts, graph.decode(0, [5, 5], [9, 9], list(rows)).copy()]

    plain = after(0, 1)
    assert (plain[0] == plain[1]).all()  # nothing is in row 1 yet
    for folder in (loud, low):
        graph.bank.put(1, AdapterBundle.load(folder).weights("int8"))
        found = after(0, 1)
        assert (found[0] == plain[0]).all()
        assert (found[2][0] == plain[2][0]).all()
        assert not (found[1] == plain[1]).all()
        assert not (found[2][1] == plain[2][1]).all()


def test_a_bank_refuses_what_does_not_fit() -> None:
    bank = Bank(2, 16)
    for row, size in ((0, 16), (3, 16), (1, 15)):
        with pytest.raises(ValueError, match="no room"):
            bank.put(row, np.zeros(size, np.uint16))
