"""A request gets the same tokens alone and among others, to the last bit of its logits.

On exported decoders, in fp32 and quantized: whoever else is in the batch, wherever prompts are cut meanwhile, whatever
is found in the cache, and whichever slot it comes to.
"""

import asyncio
import random
import time

import numpy as np
import pytest

from serving.engines.decode.bundle import DecoderBundle
from serving.engines.decode.engine import Engine
from serving.engines.decode.graph import Graph
from serving.engines.decode.sampling import SamplingParameters
from serving.engines.decode.sequence import Request, TokenEvent
from tests.serving.engines.decode import exported_bundle
from tests.serving.engines.decode.engines import build

CONTEXT = 192
SAMPLINGS = (
    SamplingParameters(temperature=0),
    SamplingParameters(temperature=1.0, seed=3),
    SamplingParameters(temperature=0.8, top_p=0.95, min_p=0.01, seed=4),
    SamplingParameters(temperature=1.0, top_k=20, seed=5, presence_penalty=0.5, repetition_penalty=1.1),
)


@pytest.fixture(scope="module", params=exported_bundle.STYLES)
def exported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    exported_bundle.build(folder, request.param, CONTEXT)
    return folder


def engine(folder, precision: str, slots: int = 16, **options) -> Engine:
    return build(folder, precision, slots=slots, threads=2, **{"queue": 64, "deadline": 200.0} | options)


def started(made: Engine) -> Engine:
    made.start()
    return made


async def generate(made: Engine, request: Request) -> tuple[list[int], list[float]]:
    """Its tokens, and their log-probabilities."""
    async with made.submit(request) as stream:
        events = [event async for event in stream if isinstance(event, TokenEvent)]
    return [event.token for event in events], [event.logprob for event in events]


def requests(count: int = 16) -> list[Request]:
    """Prompts of all lengths, half of which begin alike; the awkward ones, one over a chunk, among them."""
    chance = random.Random(0)
    lengths = [1, 16, 17, 33, 49, 150, *(chance.randint(2, 120) for _ in range(count - 6))]
    shared = [chance.randint(1, 262) for _ in range(40)]
    prompts = []
    for i, length in enumerate(lengths):
        own = [chance.randint(1, 262) for _ in range(length)]
        prompts.append(tuple((shared[: length - 1] + own)[:length] if i % 2 else own))
    return [
        Request(id=str(i), prompts=(prompt,), max_tokens=24, sampling=SAMPLINGS[i % len(SAMPLINGS)], logprobs=0,
                ignore_eos=True)
        for i, prompt in enumerate(prompts)
    ]  # fmt: skip


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
def test_alone_and_among_fifteen_others(exported, precision):
    wanted = requests()

    async def alone() -> list:
        answers = []
        for request in wanted:
            made = started(engine(exported, precision, slots=1))  # an empty cache for each
            answers.append(await generate(made, request))
        return answers

    async def together(made: Engine, seed: int | None) -> list:
        """All at once, before the engine starts; with a seed at any time and in any order, so that prompts are cut and
        slots are moved differently each time."""
        chance = random.Random(seed)

        async def one(request: Request) -> tuple:
            if seed is not None:
                await asyncio.sleep(chance.random() * 0.05)
            return await generate(made, request)

        tasks = [asyncio.create_task(one(request)) for request in wanted]
        if seed is None:
            await asyncio.sleep(0)
            made.start()
        return await asyncio.gather(*tasks)

    expected = asyncio.run(alone())
    made = engine(exported, precision)
    for seed in (None, 0, 1, 2):
        for request, got, wants in zip(wanted, asyncio.run(together(made, seed)), expected, strict=True):
            assert got == wants, (seed, request.id)
    assert max(size for sizes, _ in made._metrics.named("steps") for size in sizes) >= 8
    assert sum(tokens for (tokens,) in made._metrics.named("prefix")) > 0  # the cache was used, and changed nothing
    assert asyncio.run(together(started(engine(exported, precision, slots=3)), 9)) == expected


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
def test_the_graph_works_on_each_row_by_itself(exported, precision):
    """The same bits from `decode` in any batch, and from `extend` in any slot, however many rows are asked for.

    And however a prompt is cut, single tokens apart.
    """
    graph = Graph(DecoderBundle.load(exported, precision), 2, 16)
    tokens = np.random.default_rng(0).integers(1, 260, 100)

    def prefill(slot: int, chunk: int) -> np.ndarray:
        pieces = [(start, tokens[start : start + chunk]) for start in range(0, len(tokens), chunk)]
        return np.concatenate([graph.extend(slot, new, start, np.arange(len(new))).copy() for start, new in pieces])

    expected = prefill(0, 100)
    for slot, chunk in enumerate((2, 4, 16, 32, 50, 64), start=1):
        assert (prefill(slot, chunk) == expected).all()
    assert (prefill(7, 100) == expected).all()
    assert graph.extend(8, tokens, 0, np.arange(0)).shape == (0, expected.shape[1])
    assert (graph.extend(9, tokens, 0, np.array([99])) == expected[99]).all()  # and however many rows are asked for
    for array in graph.cache.arrays.values():
        assert all((array[slot, :, :100] == array[0, :, :100]).all() for slot in (7, 8, 9))
    alone = graph.decode(0, [7], [100]).copy()
    for count in (2, 3, 5, 8, 16):
        others = list(range(20, 19 + count))
        batch = graph.decode(0, [7, *others], [100, *(3 * i for i in range(len(others)))])
        assert (batch[0] == alone[0]).all()


def test_guessing_changes_no_greedy_result(exported):
    """Prompts that repeat themselves. Guesses take another way through the graph, whose last bits may differ."""
    pattern = (5, 6, 7, 8, 9, 10)
    wanted = [
        Request(id="g", prompts=(pattern * repeats,), max_tokens=60, ignore_eos=True, logprobs=0,
                sampling=SamplingParameters(temperature=0))
        for repeats in (1, 2, 8)
    ]  # fmt: skip
    wanted.append(Request(id="s", prompts=(pattern * 4,), max_tokens=60, ignore_eos=True, logprobs=0,
                          sampling=SamplingParameters(temperature=0.7, seed=1, frequency_penalty=-1.0)))  # fmt: skip
    plain, guessing = started(engine(exported, "fp32")), started(engine(exported, "fp32", speculative=6))

    async def main() -> None:
        for request in wanted:
            assert (await generate(guessing, request))[0] == (await generate(plain, request))[0]

    asyncio.run(main())
    guessed = guessing._metrics.named("speculated")
    assert sum(tokens for tokens, _ in guessed) > sum(accepted for _, accepted in guessed) > 0


def test_a_long_prompt_stalls_nobody(exported):
    """While a long prompt is read, a running stream gets a token after each chunk of it."""
    made = started(engine(exported, "fp32", chunk=16))
    order: list[str] = []
    extend, decode = made._graph.extend, made._graph.decode
    made._graph.extend = lambda *values: (order.append(f"chunk {len(values[1])}"), extend(*values))[1]
    made._graph.decode = lambda *values: (order.append("decode"), decode(*values))[1]

    async def main() -> None:
        first = Request(id="a", prompts=((1, 2, 3),), max_tokens=150, ignore_eos=True)
        async with made.submit(first) as stream:
            await anext(stream)
            await generate(made, Request(id="b", prompts=(tuple(range(1, 161)),), max_tokens=1))

    asyncio.run(main())
    deadline = time.monotonic() + 10
    while not made.idle and time.monotonic() < deadline:
        time.sleep(0.01)
    chunks = [i for i, each in enumerate(order) if each == "chunk 16"]
    assert len(chunks) == 10
    assert all(order[i + 1] == "decode" for i in chunks)
