"""The engine and its batcher: what waits goes together, room is bounded, deadlines, failures, drain, cancellation."""

import asyncio
import threading

import numpy as np
import pytest

from base.errors import BadItem
from serving.engines.forward.drift import ForwardDrift
from serving.engines.forward.engine import ForwardEngine
from serving.engines.forward.graph import Prepared
from serving.http.errors import ApiError
from tests.serving.engines.decode.engines import Recorder
from tests.serving.forward_bundles import PRICE


class Graph:
    """Doubles a number, when `gate` is open; item 666 breaks it."""

    largest = 4

    def __init__(self):
        self.batches, self.gate = [], threading.Event()
        self.gate.set()

    def room(self, item):
        return 2 if item.arrays[0].size == 7 else self.largest

    def run(self, items):
        assert self.gate.wait(10)
        numbers = [float(item.arrays[0][0]) for item in items]
        self.batches.append(numbers)
        if 666 in numbers:
            raise RuntimeError("broken")
        return [(np.array([2 * number], np.float32),) for number in numbers]


def prepare(raw):
    if raw[0] == b"bad":
        raise BadItem("row: no value for age", hint="send one")
    number, _, width = raw[0].partition(b"/")
    return Prepared((), (np.full(int(width or 1), float(number), np.float32),))


def engine(**options):
    graph, metrics = Graph(), Recorder()
    made = ForwardEngine(PRICE, prepare, graph, metrics, ForwardDrift(PRICE, None), **options)
    made.start()
    return made, graph, metrics


def items(*numbers):
    return [(str(number).encode(),) for number in numbers]


def numbers(rows):
    return [float(row[0][0]) for row in rows]


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


def run(test):
    async def bounded():
        async with asyncio.timeout(20):
            await test()

    asyncio.run(bounded())


def test_the_longest_wait_goes_first_and_long_items_in_small_batches():
    async def test():
        made, graph, _ = engine()
        graph.gate.clear()
        first = asyncio.create_task(made.answer(items(1), "a"))
        await until(lambda: made._batcher.waiting == 0 and made._inside == 1)
        raw = [(f"{number}/{width}".encode(),) for number, width in ((2, 7), (3, 1), (4, 7), (5, 7), (6, 1), (7, 7))]
        rest = asyncio.create_task(made.answer(raw, "b"))
        await until(lambda: made._batcher.waiting == 6)
        graph.gate.set()
        await asyncio.gather(first, rest)
        assert graph.batches == [[1], [2, 4], [3, 6], [5, 7]]

    run(test)


def test_what_waits_goes_together_up_to_the_largest_batch():
    async def test():
        made, graph, metrics = engine()
        graph.gate.clear()
        first = asyncio.create_task(made.answer(items(1), "a"))
        await until(lambda: made._batcher.waiting == 0 and made._inside == 1)
        rest = [asyncio.create_task(made.answer(items(n), "b")) for n in range(2, 9)]
        await until(lambda: made._batcher.waiting == 7)
        graph.gate.set()
        assert numbers(await first) == [2]
        assert [numbers(await each) for each in rest] == [[2 * n] for n in range(2, 9)]
        assert graph.batches == [[1], [2, 3, 4, 5], [6, 7, 8]]
        assert [len(waits) for waits, _ in metrics.named("batch")] == [1, 4, 3]
        assert made.idle

    run(test)


def test_what_one_turn_of_the_event_loop_brings_goes_together():
    async def test():
        made, graph, _ = engine(at_once=1)
        found = await asyncio.gather(*(made.answer(items(n), "a") for n in (1, 2, 3)))
        assert [numbers(each) for each in found] == [[2], [4], [6]]
        assert graph.batches == [[1, 2, 3]]

    run(test)


def test_only_a_few_items_are_decoded_on_the_event_loop():
    seen = []

    def watched(raw):
        seen.append(threading.current_thread() is threading.main_thread())
        return prepare(raw)

    async def test():
        made = ForwardEngine(PRICE, watched, Graph(), Recorder(), ForwardDrift(PRICE, None), at_once=2)
        made.start()
        await made.answer(items(1, 2), "a")
        await made.answer(items(1, 2, 3), "b")
        with pytest.raises(ApiError, match="Item 1: row: no value for age"):
            await made.answer(items(1, "bad"), "c")

    run(test)
    assert seen == [True] * 2 + [False] * 3 + [True] * 2


def test_an_end_in_the_same_turn_reaches_what_has_just_come():
    async def test():
        made, graph, _ = engine(at_once=1)
        asked = asyncio.create_task(made.answer(items(1), "a"))
        await asyncio.sleep(0)
        assert made._batcher.waiting == 1
        made.abort()
        with pytest.raises(ApiError) as caught:
            await asked
        assert caught.value.status == 503
        assert not graph.batches

    run(test)


def test_only_equal_shapes_share_a_batch_and_the_oldest_goes_first():
    async def test():
        made, graph, _ = engine()
        graph.gate.clear()
        first = asyncio.create_task(made.answer(items(0), "a"))
        await until(lambda: made._inside == 1 and made._batcher.waiting == 0)
        later = asyncio.create_task(made.answer(items("1/3", 2, "3/3", 4), "b"))
        await until(lambda: made._batcher.waiting == 4)
        graph.gate.set()
        await first
        assert numbers(await later) == [2, 4, 6, 8]
        assert graph.batches == [[0], [1, 3], [2, 4]]

    run(test)


def test_a_long_list_takes_the_room_of_its_window_and_goes_by_shape():
    async def test():
        made, graph, _ = engine(queue=0)
        graph.gate.clear()
        asked = items(1, "2/3", 3, "4/3", 5, "6/3", 7, "8/3", 9, "bad/3")
        seen = []
        long = asyncio.create_task(made.answer(asked[:9], "a", window=3, admit=seen.extend))
        await until(lambda: made._batcher.waiting == 0 and seen)
        assert made._inside == 3
        assert len(seen) == 9
        short = asyncio.create_task(made.answer(items(10), "b"))
        await until(lambda: made._inside == 4)
        graph.gate.set()
        assert numbers(await long) == [2 * n for n in range(1, 10)]
        assert numbers(await short) == [20]
        mine = [[number for number in batch if number != 10] for batch in graph.batches]
        assert [batch for batch in mine if batch] == [[1, 3, 5], [7, 9], [2], [4, 6, 8]]
        assert made.idle

    run(test)


def test_what_admit_raises_ends_a_request_before_the_graph():
    async def test():
        made, graph, _ = engine()

        def admit(ready):
            raise ApiError(429, f"{len(ready)} are too many")

        with pytest.raises(ApiError, match="2 are too many"):
            await made.answer(items(1, 2), "a", admit=admit)
        with pytest.raises(ApiError, match="Item 1: row: no value for age") as caught:
            await made.answer(items(1, "bad"), "b", admit=admit, param="input")
        assert caught.value.param == "input"
        assert graph.batches == []
        assert made.idle

    run(test)


def test_a_full_queue_is_a_429_at_once():
    async def test():
        made, graph, _ = engine(queue=2)
        graph.gate.clear()
        running = [asyncio.create_task(made.answer(items(n), "a")) for n in range(made.most)]
        await until(lambda: made._inside == 6)
        with pytest.raises(ApiError) as caught:
            await made.answer(items(9), "b")
        assert (caught.value.status, caught.value.code) == (429, "queue_full")
        assert 1 <= int(caught.value.headers["Retry-After"]) <= 60
        assert made.refusal().status == 429
        graph.gate.set()
        await asyncio.gather(*running)
        assert made.refusal() is None
        with pytest.raises(ApiError, match="At most 6 items in one request, not 7") as caught:
            await made.answer(items(*range(7)), "c")
        assert caught.value.status == 400
        assert made.idle

    run(test)


def test_the_deadline_is_a_504_and_nobody_runs_what_was_given_up():
    async def test():
        made, graph, _ = engine(deadline=0.1)
        graph.gate.clear()
        with pytest.raises(ApiError) as caught:
            await asyncio.gather(made.answer(items(1), "a"), made.answer(items("2/3"), "b"))
        assert caught.value.status == 504
        await until(lambda: made.idle)
        graph.gate.set()
        assert numbers(await made.answer(items(3), "c")) == [6]
        assert graph.batches[-1] == [3]
        assert [2] not in graph.batches

    run(test)


def test_a_client_that_goes_away():
    async def test():
        made, graph, metrics = engine()
        graph.gate.clear()
        first = asyncio.create_task(made.answer(items(1), "a"))
        await until(lambda: made._inside == 1 and made._batcher.waiting == 0)
        gone = asyncio.create_task(made.answer(items(2), "b"))
        await until(lambda: made._batcher.waiting == 1)
        gone.cancel()
        await until(gone.done)
        graph.gate.set()
        await first
        assert numbers(await made.answer(items(3), "c")) == [6]
        assert graph.batches == [[1], [3]]
        assert len(metrics.named("cancelled")) == 1
        assert made.idle

    run(test)


def test_an_item_that_breaks_the_graph_takes_nobody_with_it():
    async def test():
        made, graph, _ = engine()
        graph.gate.clear()
        first = asyncio.create_task(made.answer(items(0), "a"))
        await until(lambda: made._inside == 1 and made._batcher.waiting == 0)
        rest = [asyncio.create_task(made.answer(items(n), f"r{n}")) for n in (1, 666, 2)]
        await until(lambda: made._batcher.waiting == 3)
        graph.gate.set()
        await first
        answers = await asyncio.gather(*rest, return_exceptions=True)
        assert numbers(answers[0]) == [2]
        assert numbers(answers[2]) == [4]
        assert answers[1].status == 500
        assert "r666" in answers[1].message
        assert made.ready

    run(test)


def test_a_bad_item_is_named_and_nothing_of_its_request_runs():
    async def test():
        made, graph, _ = engine()
        with pytest.raises(ApiError, match="Item 1: row: no value for age") as caught:
            await made.answer([(b"1",), (b"bad",)], "a")
        assert caught.value.status == 400
        assert graph.batches == []
        assert made.idle

    run(test)


def test_an_answer_that_is_no_number():
    async def test():
        made, _, _ = engine()
        with pytest.raises(ApiError, match="price is not finite"):
            await made.answer(items("nan"), "a")

    run(test)


def test_abort():
    async def test():
        made, graph, _ = engine()
        graph.gate.clear()
        running = asyncio.create_task(made.answer(items(1), "a"))
        await until(lambda: made._inside == 1 and made._batcher.waiting == 0)
        waiting = asyncio.create_task(made.answer(items(2), "b"))
        await until(lambda: made._batcher.waiting == 1)
        made.abort()
        with pytest.raises(ApiError) as caught:
            await waiting
        assert caught.value.status == 503
        with pytest.raises(ApiError):
            await made.answer(items(3), "c")
        graph.gate.set()
        assert numbers(await running) == [2]

    run(test)


def test_drift_of_a_window():
    from data.drift import reference

    dice = np.random.default_rng(0)
    rows = [(np.array([a, 1, 1], np.float32),) for a in dice.normal(40, 10, 1000)]
    outputs = [(np.array([price]),) for price in dice.normal(5, 1, 1000)]
    drift = ForwardDrift(PRICE, reference(PRICE, rows, outputs))
    scores = [drift.add(one, other) for one, other in zip(rows[:200], outputs[:200], strict=True)]
    assert not any(scores[:199])
    assert scores[199]["inputs"]["age"] < 0.2
    for _ in range(300):
        last = drift.add((np.array([90, 1, 1], np.float32),), outputs[0]) or {}
    assert last["inputs"]["age"] > 0.25
