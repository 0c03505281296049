"""What many adapters over one base cost: the int8 graph with room for them beside the one without, in turns.

    python -m benchmarks.many_adapters [BUNDLE]        # default: artifacts/smollm2/bundle

A copy of the bundle's int8 graph gets room for STREAMS adapters of rank RANK on all products, and as many random ones:
their words mean nothing, their speed does. Both graphs are opened in this process, PAIRS times, two threads each,
without HTTP: one stream and 16, of which none, all over ADAPTERS adapters, or each with one of its own has an adapter;
tokens per second, the ratio of the medians of ROUNDS rounds. Accepted are the ratios that ACCEPT names, and equal bits
of each row alone and among the others.
"""

import json
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from base.forms import GRAPHS
from benchmarks.serving import STREAMS, THREADS
from models.checkpoint import load
from pipelines.exporting.adapters import insert
from pipelines.exporting.adapters.bank import Layout
from pipelines.exporting.quantize import rotation
from serving.engines.decode.bundle import DecoderBundle
from serving.engines.decode.graph import Graph
from serving.native import library

ADAPTERS, RANK = 4, 8
STEPS, CONTEXT, ROUNDS, PAIRS = 12, 128, 6, 4
CASES = {
    "base_one": [0],
    "base_many": [0] * STREAMS,
    "one": [1],
    f"over_{ADAPTERS}": [1 + slot % ADAPTERS for slot in range(STREAMS)],
    f"over_{STREAMS}": [1 + slot for slot in range(STREAMS)],
}
"""Which adapter each stream has."""
ACCEPT = {"base_one": 0.99, "base_many": 0.99, "one": 0.93, f"over_{ADAPTERS}": 0.85, f"over_{STREAMS}": 0.65}
"""The least of the speed without room for adapters."""


def make_room(bundle: DecoderBundle, folder: Path) -> DecoderBundle:
    """The bundle with an int8 graph that has room for STREAMS adapters, in `folder`."""
    network = load(bundle.path)
    for name in ("model.onnx", GRAPHS["int8"]):
        shutil.copyfile(bundle.path / name, folder / name)
    frames = rotation.write(folder / "model.onnx", folder / "rotated.onnx")
    found = insert.products(folder / "model.onnx", network)
    slots = insert.insert(folder / GRAPHS["int8"], network, found, RANK, frames)
    Layout(STREAMS, RANK, {"int8": slots}).save(folder)
    return replace(bundle, path=folder, adapters=STREAMS)


def fill(graph: Graph) -> None:
    """Random adapters in all rows, small enough that texts stay texts."""
    import ml_dtypes

    assert graph.bank is not None
    generator = np.random.default_rng(0)
    for row in range(1, len(graph.bank.weights)):
        weights = generator.normal(0, 0.01, graph.bank.weights.shape[1]).astype(ml_dtypes.bfloat16)
        graph.bank.put(row, weights.view(np.uint16))


def seconds(graph: Graph, adapters: list[int]) -> float:
    """Of STEPS steps."""
    started = time.perf_counter()
    for step in range(STEPS):
        graph.decode(0, [200 + slot for slot in range(len(adapters))], [CONTEXT + step] * len(adapters), adapters)
    return time.perf_counter() - started


def same_bits(graph: Graph) -> bool:
    """Whether each row of the mixed batch is what it is alone, prompt and next token, base's rows among them."""
    mixed = [slot % (ADAPTERS + 1) for slot in range(STREAMS)]
    prompts = [np.arange(CONTEXT) + 100 + slot for slot in range(STREAMS)]
    for slot, row in enumerate(mixed):
        graph.extend(slot, prompts[slot], 0, np.array([CONTEXT - 1]), row)
    together = graph.decode(0, [300 + slot for slot in range(STREAMS)], [CONTEXT] * STREAMS, mixed).copy()
    for slot, row in enumerate(mixed):
        graph.extend(0, prompts[slot], 0, np.array([CONTEXT - 1]), row)
        if (graph.decode(0, [300 + slot], [CONTEXT], [row])[0] != together[slot]).any():
            return False
    return True


Pair = tuple[Graph, Graph]
"""With room for adapters and without."""


def open_pairs(bundle: DecoderBundle, room: DecoderBundle) -> list[Pair]:
    """Several, for where a graph's weights come to lie in memory makes 6 % of difference between two equal graphs."""
    pairs = []
    for number in range(PAIRS):
        opened = [Graph(each, THREADS, STREAMS) for each in ((room, bundle) if number % 2 else (bundle, room))]
        with_, without = opened if number % 2 else opened[::-1]
        fill(with_)
        pairs.append((with_, without))
    return pairs


def compare(pairs: list[Pair], adapters: list[int]) -> tuple[float, float]:
    """Tokens per second with room for adapters, and the ratio to those without, both medians."""
    rounds = []
    for number in range(ROUNDS + 1):
        for with_, without in pairs:
            order = ((with_, adapters), (without, [0] * len(adapters)))
            times = [seconds(*each) for each in (order if number % 2 else order[::-1])]
            rounds.append(times if number % 2 else times[::-1])
    rounds = rounds[len(pairs) :]
    speed = STEPS * len(adapters) / statistics.median(with_ for with_, _ in rounds)
    return speed, statistics.median(without for _, without in rounds) / statistics.median(with_ for with_, _ in rounds)


def main() -> int:
    """Returns the exit status."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "artifacts/smollm2/bundle")
    if not (folder / "manifest.json").is_file():
        print(json.dumps({"name": "many_adapters", "skipped": f"{folder} is missing: metroline run smollm2"}))
        return 0
    if library() is None:
        print(json.dumps({"name": "many_adapters", "skipped": "the kernels are not built: metroline doctor says how"}))
        return 0
    bundle = DecoderBundle.load(folder, "int8")
    with tempfile.TemporaryDirectory() as name:
        pairs = open_pairs(bundle, make_room(bundle, Path(name)))
    missed = 0
    for case, adapters in CASES.items():
        speed, ratio = compare(pairs, adapters)
        ok = ratio >= ACCEPT[case]
        missed += not ok
        print(json.dumps({"name": f"many_adapters_{case}", "value": round(speed, 1), "unit": "tokens/s",
                          "of_base": round(ratio, 3), "accept": ACCEPT[case], "ok": ok}), flush=True)  # fmt: skip
    same = same_bits(pairs[0][0])
    print(json.dumps({"name": "many_adapters_bits", "value": int(same), "accept": 1, "ok": same}))
    return int(bool(missed) or not same)


if __name__ == "__main__":
    sys.exit(main())
