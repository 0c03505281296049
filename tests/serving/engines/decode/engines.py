"""Engines over tiny bundles for tests, what they report, and what they must generate."""

import asyncio
from pathlib import Path

from serving.engines.decode.bundle import DecoderBundle
from serving.engines.decode.drift import Drift
from serving.engines.decode.engine import Engine
from serving.engines.decode.sampling import SamplingParameters
from serving.engines.decode.sequence import Request, TokenEvent
from serving.engines.decode.text import Vocabulary
from serving.runtime.decoder_model import GRAPHS
from tests.serving import tiny_bundle

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


def build(folder: Path, precision: str, *, slots: int, threads: int = 1, **options) -> Engine:
    """An engine that has not been started, and that reports to a Recorder."""
    loaded = DecoderBundle.load(folder, precision)
    vocabulary = Vocabulary(loaded.path / "tokenizer.json", loaded.vocab_size)
    options = {"queue": 8, "deadline": 20.0, "chunk": 16} | options
    graph = GRAPHS[loaded.cache](loaded, threads, slots)
    return Engine(graph, vocabulary, loaded.eos, Recorder(), Drift(loaded.reference), **options)  # type: ignore[arg-type]


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
