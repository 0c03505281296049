"""How long the endpoint takes from its command to /readyz, and how much memory it holds in all its processes.

    python -m benchmarks.serving_start [BUNDLE | RECIPE]        # default: the bundle of `speeches`, else of any recipe

Value: median seconds of five starts, files in the page cache. Baseline: BentoML alone, a service with one empty method.
Memory: resident sets of supervisor and worker added up (pages that they share count twice), after twenty requests with
the longest prompts, or with each golden item of a model that answers in one call. At most 5 s and 500 MB; of a model
that answers in one call 3 s and 250 MB. Decoding speed of one stream, through HTTP, is printed as well.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil

from base.processes import free_port
from data import golden
from data.signature import FILE, Signature
from serving.app.run import QUIET, Server, start

STARTS, REQUESTS = 5, 20
BOUNDS = {"decode": (5.0, 500.0), "forward": (3.0, 250.0)}
"""Engine → seconds to ready and megabytes, at most."""

EMPTY = """
import bentoml

@bentoml.service
class Empty:
    @bentoml.api
    def nothing(self) -> str:
        return ""
"""


def find_bundle() -> Path | None:
    """The bundle given on the command line (or its recipe), that of `speeches`, or any other."""
    if len(sys.argv) > 1:
        named = Path("artifacts", sys.argv[1], "bundle")
        return named if named.is_dir() else Path(sys.argv[1])
    found = sorted(Path("artifacts").glob("*/bundle/manifest.json"), key=lambda path: "speeches" not in path.parts)
    return found[0].parent if found else None


def seconds_to_ready(url: str, process: subprocess.Popen[bytes], started: float) -> float:
    """Wait for 200 from /readyz; seconds since `started`."""
    while True:
        try:
            if httpx.get(f"{url}/readyz", timeout=2, trust_env=False).status_code == 200:
                return time.perf_counter() - started
        except httpx.HTTPError:
            pass
        if process.poll() is not None:
            raise SystemExit(f"the server ended with exit code {process.returncode}")
        time.sleep(0.01)


def start_empty(folder: Path) -> float:
    """One start of BentoML alone."""
    (folder / "empty_service.py").write_text(EMPTY)
    port = free_port("127.0.0.1", 0)
    command = [sys.executable, "-m", "bentoml", "serve", "--quiet", "empty_service:Empty", "--host", "127.0.0.1"]
    environment = os.environ | QUIET | {"BENTOML_HOME": str(folder / "home")}
    started = time.perf_counter()
    process = subprocess.Popen([*command, "--port", str(port)], cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    try:
        return seconds_to_ready(f"http://127.0.0.1:{port}", process, started)
    finally:
        process.terminate()
        process.wait(20)


def start_ours(bundle: Path, folder: Path, then: Callable[[Server], None] | None = None) -> float:
    """One start of the endpoint; `then` is done with it while it runs."""
    started = time.perf_counter()
    environment = {"BENTOML_HOME": str(folder / "home")}
    with start(bundle, port=0, log=folder / "log", environment=environment, tied=True) as server:
        seconds = seconds_to_ready(server.url, server.process, started)
        if then:
            then(server)
        return seconds


def use(server: Server, bundle: Path, found: dict[str, Any]) -> None:
    """Ask the endpoint, then read its memory."""
    with httpx.Client(base_url=server.url, timeout=120, trust_env=False) as client:
        model = client.get("/v1/models").json()["data"][0]
        found["engine"] = model["engine"]
        if found["engine"] == "forward":
            _predict(client, model["id"], bundle)
        else:
            found["tokens_per_s"] = _decode(client, model)
    processes = [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)]
    found["rss_mb"] = round(sum(process.memory_info().rss for process in processes) / 1e6, 1)
    found["processes"] = len(processes)
    found["model"], found["precision"] = model["id"], model["precision"]


def _predict(client: httpx.Client, name: str, bundle: Path) -> None:
    """Every golden item, as a client sends it."""
    signature = Signature.load(bundle / FILE)
    for body, kind in [golden.request(signature, item) for item in golden.load(bundle, signature)] * REQUESTS:
        answer = client.post(f"/v1/models/{name}/predict", content=body, headers={"Content-Type": kind})
        answer.raise_for_status()


def _decode(client: httpx.Client, model: dict[str, Any]) -> int:
    """The longest prompts; then tokens a second of one stream."""
    tokens = min(128, model["max_tokens"])
    prompt = [1 + i % (model["vocab_size"] - 1) for i in range(model["context"])]
    for _ in range(REQUESTS):
        client.post("/v1/completions", json={"prompt": prompt, "max_tokens": 8}).raise_for_status()
    body = {"prompt": prompt[: model["context"] // 4], "max_tokens": tokens, "ignore_eos": True, "stream": True}
    rates = []
    for _ in range(5):
        with client.stream("POST", "/v1/completions", json={**body, "logprobs": 0}) as answer:
            times = [time.perf_counter() for line in answer.iter_lines() if line.startswith("data: {")]
        rates.append((tokens - 1) / (times[tokens - 1] - times[0]))
    return round(statistics.median(rates))


def main() -> int:
    """Measure, print the JSON line, and return 0 when both bounds hold."""
    bundle = find_bundle()
    if bundle is None:
        print(json.dumps({"name": "serving_start", "skipped": "there is no bundle yet: metroline run speeches"}))
        return 0
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start_empty(folder)  # fills the page cache, writes .pyc files
        empty = [start_empty(folder) for _ in range(STARTS)]
        ours = [start_ours(bundle, folder) for _ in range(STARTS)]
        start_ours(bundle, folder, lambda server: use(server, bundle, found))
    print(f"seconds to ready: {', '.join(f'{seconds:.2f}' for seconds in ours)}")
    print(f"BentoML alone:    {', '.join(f'{seconds:.2f}' for seconds in empty)}")
    speed = f"; one stream: {found['tokens_per_s']} tokens/s" if "tokens_per_s" in found else ""
    print(f"memory: {found['rss_mb']} MB in {found['processes']} processes{speed}")
    value, baseline = statistics.median(ours), statistics.median(empty)
    seconds, megabytes = BOUNDS[found["engine"]]
    ok = value <= seconds and found["rss_mb"] < megabytes
    line = {"name": "serving_start", "value": round(value, 2), "unit": "s", "baseline": round(baseline, 2),
            "ratio": round(value / baseline, 2), "accept": f"<= {seconds:g} s, < {megabytes:g} MB",
            "ok": ok}  # fmt: skip
    print(json.dumps(line | found))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
