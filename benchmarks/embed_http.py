"""Embeddings one text a request from 64 clients, against the same graph without a server.

    metroline run minilm
    python -m benchmarks.embed_http

Texts are sentences of STS-B's test split. The server has one worker and as many threads for the graph as it chooses
itself; the raw graph runs in this process with as many, on the same texts as arrays, in full batches of like length.
Both take turns; of ROUNDS the median counts. Value: texts a second over HTTP; baseline: the raw graph's. Accepted: 0.85
of it, the slowest hundredth of answers at most twice the median, none wrong (each is held, byte for byte, against
what the same text gets alone), none lost.
"""

import json
import os
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np

from benchmarks import _embedders
from benchmarks._report import report, say
from benchmarks.forward import CLIENTS, WARM, Load, drive
from data import golden
from serving.app.run import start
from serving.engines.forward.bundle import ForwardBundle
from serving.engines.forward.graph import ForwardGraph, Prepared
from serving.engines.forward.preparation import Preparation
from serving.engines.threads import threads_for

TEXTS, ROUNDS, SECONDS = 512, 5, 6.0
SHARE, TAIL = 0.85, 2.0


def raw(graph: ForwardGraph, items: list[Prepared], seconds: float) -> float:
    """Items a second in full batches of like length, for about so many seconds."""
    groups: dict[tuple[tuple[int, ...], ...], list[Prepared]] = {}
    for item in items:
        groups.setdefault(item.shape, []).append(item)
    batches = [group[at : at + graph.room(group[0])] for group in groups.values()
               for at in range(0, len(group), graph.room(group[0]))]  # fmt: skip
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        for batch in batches:
            graph.run(batch)
        done += len(items)
    return done / (time.perf_counter() - began)


def main() -> None:
    """Measure, and print the result."""
    paths, rounds = _embedders.paths(), int(os.environ.get("ROUNDS", ROUNDS))
    bundle = ForwardBundle.load(paths.bundle)
    prepare, texts = Preparation(bundle), _embedders.sentences(TEXTS)
    threads = threads_for(bundle, os.cpu_count() or 1)
    graph = ForwardGraph(bundle.graph, bundle.typed, threads)
    graph.settle([prepare(item.inputs) for item in golden.load(bundle.path, bundle.typed)])
    items = [prepare((text,)) for text in texts]
    bodies = [(json.dumps({"input": text, "encoding_format": "base64"}).encode(), "application/json") for text in texts]
    rates: list[float] = []
    load = Load()
    with tempfile.TemporaryDirectory() as folder:
        server = start(paths.bundle, port=0, log=Path(folder) / "log", environment={"BENTOML_HOME": f"{folder}/home"},
                       tied=True)  # fmt: skip
        with server, httpx.Client(base_url=server.url, timeout=30, trust_env=False) as client:
            server.wait_ready()
            expected = [client.post("/v1/embeddings", content=body, headers={"Content-Type": kind}).raise_for_status()
                        .content for body, kind in bodies]  # fmt: skip
            drive(server.url, "/v1/embeddings", bodies, expected, Load(), WARM)
            raw(graph, items, WARM)
            served: list[float] = []
            for _ in range(rounds):
                one = Load()
                drive(server.url, "/v1/embeddings", bodies, expected, one, SECONDS)
                served.append(one.rate)
                load.seconds += one.seconds
                load.wrong, load.lost, load.time = load.wrong + one.wrong, load.lost + one.lost, load.time + one.time
                rates.append(raw(graph, items, SECONDS))
                say(f"{served[-1]:.0f} texts/s over HTTP, {rates[-1]:.0f} by the graph alone")
    share = float(np.median([mine / alone for mine, alone in zip(served, rates, strict=True)]))
    tail = load.percentile(99) / load.percentile(50)
    report(
        name="embed_http",
        value=round(float(np.median(served)), 1),
        unit="texts/s",
        baseline=round(float(np.median(rates)), 1),
        ratio=round(share, 3),
        accept=f">= {SHARE:g} of the raw graph; p99 <= {TAIL:g} x p50; none wrong, none lost",
        ok=share >= SHARE and tail <= TAIL and not (load.wrong or load.lost),
        clients=CLIENTS,
        threads=threads,
        p50_ms=round(load.percentile(50), 1),
        p99_ms=round(load.percentile(99), 1),
        tail=round(tail, 2),
        wrong=load.wrong,
        lost=load.lost,
    )


if __name__ == "__main__":
    main()
