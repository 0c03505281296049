"""Models with a state of fixed size in the engine: the model's logits, and the same bits alone and among others."""

import asyncio
import dataclasses
import random

import numpy as np
import onnx
import pytest
import torch

from base.errors import MetrolineError
from serving.engines.decode.bundle import DecoderBundle
from serving.engines.decode.sampling import SamplingParameters
from serving.engines.decode.sequence import Request, TokenEvent
from serving.engines.decode.state import StateGraph
from tests.serving.engines.decode import engines, state_bundle

TOKENS = np.random.default_rng(0).integers(1, 260, 40)
CONTEXT = 48


@pytest.fixture(scope="module", params=state_bundle.STYLES)
def exported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    return folder, state_bundle.build(folder, request.param, CONTEXT)


def load(folder, slots: int = 4) -> StateGraph:
    return StateGraph(DecoderBundle.load(folder), 1, slots)


def expected(model, tokens) -> np.ndarray:
    with torch.inference_mode():
        return model(torch.tensor(np.array(tokens))[None])[0].numpy()


@pytest.mark.parametrize("prompt", [1, 7, 39])
def test_logits_are_the_models(exported, prompt):
    folder, model = exported
    graph = load(folder)
    rows = list(graph.extend(1, TOKENS[:prompt], 0, np.arange(prompt)))
    rows += [graph.decode(0, [5, token, -1], [0, prompt + i, 0])[1] for i, token in enumerate(TOKENS[prompt:].tolist())]
    np.testing.assert_allclose(rows, expected(model, TOKENS), atol=2e-4)


def test_each_row_by_itself(exported):
    """The same bits however a prompt is cut, in any slot, and from `decode` in any batch."""
    graph = load(exported[0], slots=16)
    whole = graph.extend(0, TOKENS, 0, np.arange(40))
    for slot, chunk in ((1, 1), (2, 7), (3, 16)):
        parts = [(at, TOKENS[at : at + chunk]) for at in range(0, 40, chunk)]
        cut = np.concatenate([graph.extend(slot, part, at, np.arange(len(part))) for at, part in parts])
        assert (cut == whole).all()
    assert graph.extend(4, TOKENS, 0, np.array([], np.int64)).shape == (0, graph.vocab_size)
    alone = graph.decode(0, [7], [40])[0]
    for count in (2, 3, 5, 8, 16):
        graph.extend(0, TOKENS, 0, np.array([39]))
        assert (graph.decode(0, [7, *range(20, 19 + count)], [40] * count)[0] == alone).all()


def test_a_row_whose_turn_it_is_not_stays(exported):
    folder, model = exported
    graph = load(folder)
    for slot in range(3):
        graph.extend(slot, TOKENS[: 5 + slot], 0, np.array([0]))
    for token in TOKENS[10:20].tolist():
        graph.decode(0, [token, -1, token], [0, 0, 0])
    after = graph.decode(0, [-1, 9, -1], [0, 0, 0])[1]
    np.testing.assert_allclose(after, expected(model, [*TOKENS[:6], 9])[-1], atol=2e-4)


def test_a_copied_slot_goes_on_alone_and_a_new_text_begins_from_nothing(exported):
    folder, model = exported
    graph = load(folder)
    graph.extend(0, TOKENS[:12], 0, np.array([0]))
    graph.cache.copy(0, 3, 12)
    graph.extend(0, TOKENS[20:25], 0, np.array([0]))
    both = graph.decode(0, [9, -1, -1, 8], [5, 0, 0, 12])
    np.testing.assert_allclose(both[0], expected(model, [*TOKENS[20:25], 9])[-1], atol=2e-4)
    np.testing.assert_allclose(both[3], expected(model, [*TOKENS[:12], 8])[-1], atol=2e-4)


def requests() -> list[Request]:
    chance = random.Random(0)
    samplings = (
        SamplingParameters(temperature=0),
        SamplingParameters(temperature=1.0, seed=3),
        SamplingParameters(temperature=0.8, top_p=0.95, seed=4),
    )
    shared = [chance.randint(1, 262) for _ in range(20)]
    return [
        Request(id=str(i), prompts=((*shared[: i % 2 * 20], *(chance.randint(1, 262) for _ in range(i + 1))),),
                max_tokens=60, sampling=samplings[i % 3], logprobs=2, ignore_eos=True)
        for i in range(12)
    ]  # fmt: skip


def test_alone_and_among_eleven_others(exported):
    """Tokens, log-probabilities and the likeliest ones; past the context too; guessing and sharing are off."""
    folder, _ = exported
    wanted = requests()

    async def one(made, request: Request, wait: float) -> list:
        await asyncio.sleep(wait)
        async with made.submit(request) as stream:
            events = [event async for event in stream if isinstance(event, TokenEvent)]
        return [(event.token, event.logprob, event.top) for event in events]

    async def alone() -> list:
        made = engines.build(folder, "fp32", slots=1, queue=64)
        made.start()
        return [await one(made, request, 0) for request in wanted]

    async def together(made, chance: random.Random) -> list:
        return await asyncio.gather(*(one(made, request, chance.random() * 0.03) for request in wanted))

    expected = asyncio.run(alone())
    assert all(len(events) == 60 for events in expected)
    made = engines.build(folder, "fp32", slots=8, queue=64, speculative=4)
    made.start()
    for seed in range(3):
        assert asyncio.run(together(made, random.Random(seed))) == expected
    assert max(size for sizes, _ in made._metrics.named("steps") for size in sizes) >= 4
    assert not made._metrics.named("speculated")
    assert not sum(tokens for (tokens,) in made._metrics.named("prefix"))


def test_a_graph_that_is_none(exported, tmp_path):
    bundle = dataclasses.replace(DecoderBundle.load(exported[0]), path=tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(MetrolineError, match="cannot load it"):
        StateGraph(bundle, 1)


@pytest.mark.parametrize(("part", "says"), [("input", "inputs"), ("output", "outputs")])
def test_a_graph_of_another_kind(part, says, exported, tmp_path):
    model = onnx.load(exported[0] / "model.onnx")
    old = "input_ids" if part == "input" else "logits"
    getattr(model.graph, part)[0].name = "x"
    for node in model.graph.node:
        names = getattr(node, part)
        names[:] = ["x" if name == old else name for name in names]
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(MetrolineError, match=says):
        StateGraph(dataclasses.replace(DecoderBundle.load(exported[0]), path=tmp_path), 1)


def test_a_cache_of_another_version(exported, tmp_path):
    import shutil

    from base import manifest
    from base.files import read_json

    shutil.copytree(exported[0], tmp_path / "bundle")
    values = read_json(tmp_path / "bundle/manifest.json")
    values["model"]["cache"] = "pages"
    manifest.write(tmp_path / "bundle", values)
    with pytest.raises(MetrolineError, match="neither kv nor state"):
        DecoderBundle.load(tmp_path / "bundle")
