"""Precision `auto`: which graph of a bundle is fastest on this machine, found by running each for a moment.

    METROLINE_PRECISION=auto        # or fp32, int8, int4

Every quantized graph of a bundle kept within its limit of what it may lose, so only speed decides. Of a decoder: one
stream, eight streams and a prompt, as the product of the three; fp32 is tried only where the bundle has nothing else.
Of a model of one call: one item and eight, and fp32 too, which wins where the network is small. The answer is kept in
BENTOML_HOME for this bundle, processor, number of threads, with or without kernels of ours, so that only the first
start takes the second or two.
"""

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from base.errors import MetrolineError
from base.files import read_json, write_json
from base.forms import GRAPHS
from serving.bundle import Bundle
from serving.engines.decode.bundle import DecoderBundle
from serving.engines.decode.graph import Graph
from serving.engines.forward.bundle import ForwardBundle
from serving.engines.forward.graph import ForwardGraph, Prepared
from serving.native import library
from serving.store import home

Kind = TypeVar("Kind", bound=Bundle)
STREAMS, PROMPT, CONTEXT, REPEATS = 8, 64, 128, 6


def settle(
    bundle: DecoderBundle, threads: int, native: bool = True, environment: Mapping[str, str] = os.environ
) -> DecoderBundle:
    """The bundle with a graph chosen where its precision is `auto`. Raises MetrolineError when one cannot be loaded."""
    if bundle.precision != "auto":
        return bundle
    choices = [name for name in ("int8", "int4") if GRAPHS[name] in bundle.files] or ["fp32"]
    kernels = "native" if native and library() else "plain"
    key = f"{bundle.version} {processor()} {threads} {kernels}"
    return _fastest(bundle, choices, key, lambda each: speed(each, threads, native), environment)


def settle_forward(
    bundle: ForwardBundle, threads: int, items: Sequence[Prepared], environment: Mapping[str, str] = os.environ
) -> ForwardBundle:
    """The same of a model of one call, run on its golden items."""
    if bundle.precision != "auto":
        return bundle
    choices = [name for name in ("fp32", "int8") if GRAPHS[name] in bundle.files]
    key = f"{bundle.version} {processor()} {threads}"
    return _fastest(bundle, choices, key, lambda each: forward_speed(each, threads, items), environment)


def _fastest(
    bundle: Kind, choices: Sequence[str], key: str, speed: Callable[[Kind], float], environment: Mapping[str, str]
) -> Kind:
    if len(choices) == 1:
        return replace(bundle, precision=choices[0])
    path = home(environment) / "metroline" / ".precision.json"
    known = _read(path)
    if known.get(key) not in choices:
        known[key] = max(choices, key=lambda name: speed(replace(bundle, precision=name)))
        _write(path, known)
    return replace(bundle, precision=known[key])


def forward_speed(bundle: ForwardBundle, threads: int, items: Sequence[Prepared]) -> float:
    """Items per second of one and of STREAMS at a time, multiplied."""
    graph = ForwardGraph(bundle.graph, bundle.typed, threads)
    return _rate(1, lambda: graph.run(items[:1])) * _rate(STREAMS, lambda: graph.run([items[0]] * STREAMS))


def speed(bundle: DecoderBundle, threads: int, native: bool = True) -> float:
    """Tokens per second of one stream, of STREAMS streams and of a prompt, multiplied."""
    graph = Graph(replace(bundle, context=min(CONTEXT, bundle.context)), threads, STREAMS, native)
    length = min(PROMPT, graph.context - 1)
    prompt, last = np.arange(length) % bundle.vocab_size, np.array([length - 1])
    return (
        _rate(length, lambda: graph.extend(0, prompt, 0, last))
        * _rate(1, lambda: graph.decode(0, [0], [length]))
        * _rate(STREAMS, lambda: graph.decode(0, [0] * STREAMS, [length] * STREAMS))
    )


def _rate(count: int, call: Callable[[], object]) -> float:
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return count / min(seconds)


def processor() -> str:
    """The processor's name, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _read(path: Path) -> dict[str, str]:
    """What is known; nothing when it cannot be read: it is only a cache."""
    try:
        found = read_json(path)
    except (OSError, ValueError, MetrolineError):
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _write(path: Path, known: dict[str, str]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, known)
    except (OSError, MetrolineError):  # a store that cannot be written to: it is measured again next time
        return
