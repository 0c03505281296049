"""What an index of many chunks costs: time to build, p50 and p99 of a search through HTTP, memory; and a build killed.

    metroline run minilm && metroline stage fetch speeches-index
    python -m benchmarks.index_size [--sizes 1000 10000 100000]

There are 15,809 chunks of public text, the speeches. Larger sizes repeat them: in each copy of a document one word in
twenty is another one of the same document, drawn by a seed. Only `--embedded` chunks are embedded by minilm; the
vectors of all others are those with seeded noise (cosine about 0.9), so `build` is the time of the table without
embedding. It is the line's own stages that cut, build, judge and export. Queries are sentences of the documents, one
after the other.
At the largest size the build is killed (SIGKILL) half-way while the endpoint serves: the old index must be as it was
and go on answering, and the next build must end with equal vectors and embed nothing again.
"""

import argparse
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
import yaml
from numpy.typing import NDArray

from base.errors import MetrolineError
from base.files import read_json, sha256
from benchmarks._report import record, report, say
from data.fetch.sources import pin
from data.index.passages import Passages
from pipelines.line import stages
from pipelines.paths import Paths
from pipelines.tasks.index.build import KEPT, embed
from pipelines.tasks.index.config import DocumentsData
from pipelines.tasks.index.embedder import Embedder
from serving.app.run import start

ROOT = Path(__file__).resolve().parents[1]
NAME, EMBEDDER = "sizes", "minilm"
QUERIES, MOST = 300, 0.05
"""Searches that are timed; seconds that the 99th percentile may take."""
BYTES = 720
"""Of text in a chunk, about: so many documents are written that there are more chunks than asked for."""


def copies(size: int) -> Iterator[tuple[str, str]]:
    """(name, text) of documents with about so many chunks."""
    paths = sorted((Paths("speeches-index", ROOT).raw / "files").rglob("*.txt"))
    if not paths:
        raise MetrolineError("the speeches are missing", hint="metroline stage fetch speeches-index")
    left = size * BYTES
    for copy in range(1 << 20):
        for path in paths:
            text = path.read_text(encoding="utf-8")
            if copy:
                dice, words = random.Random(f"{copy} {path.name}"), text.split(" ")
                for place in dice.sample(range(len(words)), len(words) // 20):
                    words[place] = dice.choice(words)
                text = " ".join(words)
            yield f"{copy}-{path.name}", text
            left -= len(text.encode())
            if left < 0:
                return


def project(root: Path, size: int) -> Paths:
    """A project with the released embedder, documents and the recipe, prepared."""
    folder = root / "documents"
    folder.mkdir(parents=True)
    for name, text in copies(size):
        (folder / name).write_text(text, encoding="utf-8")
    values = {
        "description": "speeches, many times", "licence": "public domain",
        "source": pin(folder, suffixes=DocumentsData().suffixes).model_dump(mode="json"),
        "pretrained": {"source": {"kind": "release", "name": EMBEDDER}}, "data": {"kind": "documents"}, "split": {},
        "model": {"kind": "vector-index"}, "task": {"kind": "index"}, "train": {}, "evaluate": {}, "export": {},
        "serving": {}, "release": {}, "gates": [],
    }  # fmt: skip
    recipes = root / "pipelines/recipes"
    recipes.mkdir(parents=True)
    (recipes / f"{NAME}.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    (recipes / f"{EMBEDDER}.yaml").write_bytes((ROOT / f"pipelines/recipes/{EMBEDDER}.yaml").read_bytes())
    (root / "artifacts").mkdir()
    (root / f"artifacts/{EMBEDDER}").symlink_to((ROOT / f"artifacts/{EMBEDDER}").resolve())
    for stage in ("fetch", "released", "prepare"):
        stages.run(stage, NAME, root)
    return Paths(NAME, root)


class Perturbed(Embedder):
    """An embedder that embeds its first texts, and gives those vectors with noise for all that come later."""

    def __init__(self, bundle: Path, most: int) -> None:
        super().__init__(bundle)
        self._made: list[NDArray[np.float32]] = []
        self._most, self._noise = most, np.random.default_rng(0)

    def document(self, text: str) -> NDArray[np.float32]:
        """See the class."""
        if len(self._made) < self._most:
            self._made.append(super().document(text))
            return self._made[-1]
        base = self._made[int(self._noise.integers(self._most))]
        found = base + self._noise.normal(scale=0.48 / np.sqrt(base.size), size=base.size)
        return np.asarray(found / np.linalg.norm(found), np.float32)


def build(root: Path) -> subprocess.Popen[bytes]:
    """Begin the stage that makes the table, in a process of its own."""
    run = f"stages.run('train', {NAME!r}, Path({str(root)!r}))"
    code = f"from pathlib import Path; from pipelines.line import stages; {run}"
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL)


def timed_build(root: Path) -> float:
    """Seconds of the stage, start of the process included."""
    started = time.perf_counter()
    if build(root).wait():
        raise MetrolineError("the build failed")
    return time.perf_counter() - started


def memory(process: int) -> int:
    """Resident bytes of a process and all its descendants."""
    children: dict[int, list[int]] = {}
    sizes: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
        except OSError:  # it has ended
            continue
        number = int(lines["Pid"])
        children.setdefault(int(lines["PPid"]), []).append(number)
        sizes[number] = 1024 * int(lines.get("VmRSS", "0").split()[0])
    waiting, total = [process], 0
    while waiting:
        number = waiting.pop()
        total += sizes.get(number, 0)
        waiting += children.get(number, [])
    return total


def searched(client: httpx.Client, queries: Sequence[str]) -> list[float]:
    """Seconds of each search, hybrid, one after the other."""
    seconds = []
    for query in queries:
        started = time.perf_counter()
        answer = client.post("/v1/search", json={"model": NAME, "query": query, "k": 5})
        seconds.append(time.perf_counter() - started)
        if answer.status_code != 200 or len(answer.json()["data"]) != 5:
            raise MetrolineError(f"a search was answered with {answer.status_code}: {answer.text[:200]}")
    return seconds


def killed(paths: Paths, root: Path, client: httpx.Client, queries: Sequence[str], seconds: float) -> dict[str, Any]:
    """Build again, kill it half-way, search meanwhile and after; then build to the end."""
    files = sorted(path for path in paths.checkpoint.rglob("*") if path.is_file())
    before = {path: sha256(path) for path in files}
    stages_again = build(root)
    time.sleep(0.5 * seconds)
    during = searched(client, queries)
    running = stages_again.poll() is None
    stages_again.kill()
    stages_again.wait()
    whole = all(path.is_file() and sha256(path) == value for path, value in before.items())
    searched(client, queries)
    timed_build(root)
    vectors = paths.checkpoint / "model.safetensors"
    return {"killed_while_running": running, "old_index_whole": whole, "p99_during_ms": _percentile(during, 99),
            "embedded_again": read_json(paths.checkpoint / "training.json")["embedded"],
            "equal_vectors": sha256(vectors) == before[vectors]}  # fmt: skip


def _percentile(seconds: Sequence[float], which: int) -> float:
    return round(1000 * float(np.percentile(seconds, which)), 2)


def measure(root: Path, size: int, embedded: int, kill: bool) -> dict[str, Any]:
    """All numbers of one size."""
    started = time.perf_counter()
    paths = project(root, size)
    prepared = time.perf_counter() - started
    passages = Passages(paths.prepared)
    texts = [passages.passage(number).embedded for number in range(len(passages))]
    kept = paths.training / KEPT
    kept.parent.mkdir(parents=True, exist_ok=True)
    embed(texts, Perturbed(ROOT / f"artifacts/{EMBEDDER}/bundle", min(embedded, len(texts))), kept)
    seconds = timed_build(root)
    for stage in ("evaluate", "export"):
        stages.run(stage, NAME, root)
    dice = random.Random(1)
    sentences = [" ".join(dice.choice(texts).split()[5:25]) for _ in range(QUERIES)]
    found: dict[str, Any] = {"chunks": len(texts), "prepare_s": round(prepared, 1), "build_s": round(seconds, 1)}
    environment = {"BENTOML_HOME": f"{root}/home"}
    with (
        start(paths.bundle, port=0, log=root / "log", environment=environment, tied=True) as server,
        httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client,
    ):
        server.wait_ready(300)
        searched(client, sentences[:20])
        times = searched(client, sentences)
        found |= {"p50_ms": _percentile(times, 50), "p99_ms": _percentile(times, 99),
                  "rss_mb": round(memory(server.process.pid) / 1e6, 1),
                  "bundle_mb": round(sum(path.stat().st_size for path in paths.bundle.rglob("*")) / 1e6, 1),
                  "exact_recall": read_json(paths.metrics)["test"]["exact_recall"]}  # fmt: skip
        if kill:
            found |= killed(paths, root, client, sentences[:100], seconds)
    record(benchmark="index_size", **found)
    return found


def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.index_size")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000], help="chunks, about")
    parser.add_argument("--embedded", type=int, default=2000, help="chunks that minilm embeds")
    options = parser.parse_args()
    if not (ROOT / f"artifacts/{EMBEDDER}/bundle").is_dir():
        raise MetrolineError(f"{EMBEDDER} is not released", hint=f"metroline run {EMBEDDER}")
    found: dict[str, Any] = {}
    for size in sorted(options.sizes):
        say(f"about {size:,} chunks")
        with TemporaryDirectory(prefix="metroline-benchmark-") as folder:
            found = measure(Path(folder), size, options.embedded, kill=size == max(options.sizes))
    safe = found["old_index_whole"] and found["killed_while_running"] and found["equal_vectors"]
    report(
        name="index_size", value=found["p99_ms"], unit=f"ms, p99 of a search over {found['chunks']:,} chunks",
        baseline=1000 * MOST, ratio=round(found["p99_ms"] / 1000 / MOST, 3),
        accept="p99 <= 50 ms; a killed build loses nothing and embeds nothing again",
        ok=found["p99_ms"] <= 1000 * MOST and safe and not found["embedded_again"], **found,
    )  # fmt: skip


if __name__ == "__main__":
    main()
