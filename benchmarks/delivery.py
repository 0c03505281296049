"""What trying a candidate costs the live release, and how many requests a bad one answers before it is rolled back.

    python -m benchmarks.delivery [BUNDLE]        # default: the bundle of `digits`

Shadow: requests come at random moments to three endpoints in turn: with a candidate that sees 20 % of them, and two
without any, which say what the machine's own noise is. Value: the 99th percentile of the first by that of the others.
Canary at 10 %: four clients send 10,000 requests without a pause; counted are answers of the candidate that are wrong
or errors, for labels in another order, NaN for some inputs, and half more time for the same request. The live
bundle keeps one golden item, or the candidate with other labels would be found before its first request.
Memory: the worker's, without a candidate, with one whose 80 MB graph is the live one's, and with another such graph.
"""

import http.client
import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import psutil

from base.delivery import Plan
from base.files import read_json
from benchmarks import _candidates as made
from benchmarks._report import record, report, say
from data import golden
from data.codecs import decode
from data.signature import FILE, Signature
from pipelines.release.store import Pointers, Store
from serving.app.run import Server, start
from serving.engines.forward.graph import session

REQUESTS, CLIENTS, MOST_WRONG, MOST_COST = 10_000, 4, 50, 1.10
RATE, EACH = 120.0, 3000
"""Requests a second, to all endpoints together; and to each in all."""
NEVER = 10**9


@contextmanager
def endpoint(live: Path, candidate: Path | None = None, plan: Plan | None = None) -> Iterator[Server]:
    """Serves `live`, and tries a candidate."""
    with TemporaryDirectory(prefix="metroline-delivery-") as folder:
        store, tags = Store(Path(folder) / "home"), []
        for bundle in filter(None, (live, candidate)):
            tags.append("{name}:{version}".format(**read_json(bundle / "manifest.json")))
            store.put(bundle, tags[-1], labels={})
        name = tags[0].partition(":")[0]
        store.point(name, Pointers(tags[0], None, tags[1] if candidate else None, plan.values() if plan else None))
        environment = {"BENTOML_HOME": str(store.home), "METROLINE_THREADS": "1", "METROLINE_AUTH": "off"}
        with start(models=[name], port=0, log=Path(folder) / "log", environment=environment, tied=True) as server:
            server.wait_ready()
            yield server


class Client:
    """One connection."""

    def __init__(self, server: Server, name: str) -> None:
        self._http = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
        self._path = f"/v1/models/{name}/predict"

    def ask(self, body: bytes) -> tuple[int, str, Any]:
        """(status, version that answered, JSON)."""
        self._http.request("POST", self._path, body, {"Content-Type": "application/json"})
        answer = self._http.getresponse()
        return answer.status, answer.headers.get("x-model-version", ""), json.loads(answer.read())


def shadow(live: Path, same: Path, name: str, bodies: Sequence[bytes]) -> dict[str, Any]:
    """The 99th percentile with and without a candidate in shadow."""
    plan = Plan(id="shadow", mode="shadow", share=0.2, requests=NEVER)
    with endpoint(live, same, plan) as tried, endpoint(live) as plain, endpoint(live) as other:
        servers, draw = {"shadow": tried, "plain": plain, "again": other}, random.Random(1)
        taken: dict[str, list[float]] = {each: [] for each in servers}
        todo = [each for each in servers for _ in range(EACH)]
        draw.shuffle(todo)

        def client(mine: Sequence[str], seed: int) -> None:
            own, clients = random.Random(seed), {each: Client(server, name) for each, server in servers.items()}
            for each in servers:
                for body in bodies[:50]:
                    clients[each].ask(body)
            due = time.perf_counter()
            for each in mine:
                due += own.expovariate(RATE / CLIENTS)
                time.sleep(max(0.0, due - time.perf_counter()))
                body, began = own.choice(bodies), time.perf_counter()
                clients[each].ask(body)
                taken[each].append(time.perf_counter() - began)

        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(client, [todo[i::CLIENTS] for i in range(CLIENTS)], range(CLIENTS)))
        outcomes = httpx.get(f"{tried.url}/v1/models/{name}/delivery", trust_env=False).json()["outcomes"]
    p99 = {each: float(np.quantile(values, 0.99)) for each, values in taken.items()}
    p50 = {each: float(np.median(values)) for each, values in taken.items()}
    both = float(np.quantile([*taken["plain"], *taken["again"]], 0.99))
    return {"p99_ms": {each: round(1000 * value, 2) for each, value in p99.items()},
            "p50_ms": {each: round(1000 * value, 2) for each, value in p50.items()},
            "cost": round(p99["shadow"] / both, 3), "noise": round(p99["plain"] / p99["again"], 3),
            "outcomes": outcomes}  # fmt: skip


def canary(live: Path, candidate: Path, name: str, wanted: dict[bytes, str]) -> dict[str, Any]:
    """What became of the requests while a candidate was tried on a tenth of them."""
    plan = Plan(id="canary", mode="canary", share=0.1, requests=500)
    version = read_json(candidate / "manifest.json")["version"]
    bodies = list(wanted)
    with endpoint(live, candidate, plan) as server:

        def client(number: int) -> list[tuple[bool, bool, bool]]:
            http, found = Client(server, name), []
            for count in range(REQUESTS // CLIENTS):
                body = bodies[(number + CLIENTS * count) % len(bodies)]
                status, by, answer = http.ask(body)
                right = status == 200 and answer[0]["label"] == wanted[body]
                found.append((by == version, right, status >= 500))
            return found

        began = time.monotonic()
        with ThreadPoolExecutor(CLIENTS) as pool:
            found = [each for part in pool.map(client, range(CLIENTS)) for each in part]
        state = httpx.get(f"{server.url}/v1/models/{name}/delivery", trust_env=False).json()
    return {
        "requests": len(found), "by_candidate": sum(each[0] for each in found),
        "wrong": sum(own and not right for own, right, _ in found), "lost": sum(each[2] for each in found),
        "seconds": round(time.monotonic() - began, 1), "decision": state["decision"], "why": state["why"],
        "tests": {each["test"]: each["found"] for each in state["tests"]},
    }  # fmt: skip


def memory(live: Path, candidate: Path | None = None) -> int:
    """MB of the worker."""
    plan = Plan(id="memory", mode="shadow", share=0.2, requests=NEVER) if candidate else None
    with endpoint(live, candidate, plan) as server:
        workers = [each for each in psutil.Process(server.process.pid).children(recursive=True)
                   if "_bentoml_impl.worker.service" in " ".join(each.cmdline())]  # fmt: skip
        return round(sum(each.memory_info().rss for each in workers) / made.MEGABYTE)


def slower(bundle: Path, folder: Path, item: bytes, times: float) -> tuple[Path, float]:
    """A candidate that takes about so many times as long for an item, and how many it does."""
    best, wide = made.seconds(bundle, item), 64
    while True:
        path = made.wider(bundle, folder / f"wide{wide}", wide)
        if (ratio := made.seconds(path, item) / best) >= times:
            return path, ratio
        wide = round(wide * 1.3)


def main(bundle: Path) -> None:
    signature, name = Signature.load(bundle / FILE), read_json(bundle / "manifest.json")["name"]
    items = golden.load(bundle, signature)
    rows = [decode(signature.inputs[0], item.inputs[0]) for item in items]
    labels = signature.outputs[0].labels  # type: ignore[union-attr]
    with TemporaryDirectory(prefix="metroline-delivery-") as temporary:
        folder = Path(temporary)
        live, same = made.copied(bundle, folder / "live", 1), made.copied(bundle, folder / "same")
        draw, wanted = np.random.default_rng(1), {}
        columns = signature.inputs[0].columns  # type: ignore[union-attr]
        graph = session(live / "model.onnx", 1)
        for _ in range(400):  # golden rows with some pixels of others
            a, b = draw.integers(0, len(rows), 2)
            mixed = np.where(draw.random(len(columns)) < 0.2, rows[b], rows[a]).astype(np.float32)
            (scores,) = graph.run(None, {graph.get_inputs()[0].name: mixed[None]})
            body = json.dumps({"inputs": {c.name: float(v) for c, v in zip(columns, mixed, strict=True)}}).encode()
            wanted[body] = labels[int(scores[0].argmax())]
        column = int(np.argmax(np.std(rows, 0)))
        late, ratio = slower(bundle, folder, items[0].inputs[0], 1.5)
        bad = {
            "labels": made.relabelled(bundle, folder / "labels"),
            "nan": made.not_finite(bundle, folder / "nan", column, float(np.median([row[column] for row in rows]))),
            "slow": late,
        }
        found = {}
        for kind, candidate in bad.items():
            found[kind] = canary(live, candidate, name, wanted)
            record(canary=kind, **found[kind])
        found["good"] = canary(live, same, name, wanted)
        record(canary="good", **found["good"])
        cost = shadow(live, same, name, list(wanted))
        record(shadow=cost)
        large = made.wider(live, folder / "large", 1_000_000)
        equal, other = made.copied(large, folder / "equal"), made.wider(live, folder / "other", 1_000_000, 1.0)
        used = {"none": memory(large), "equal": memory(large, equal), "other": memory(large, other)}
        record(memory_mb=used)
    wrong = max(found[kind]["wrong"] for kind in bad)
    ok = (all(found[kind]["decision"] == "rollback" for kind in bad) and found["good"]["decision"] == "promote"
          and wrong <= MOST_WRONG and cost["cost"] <= MOST_COST and not any(each["lost"] for each in found.values())
          and used["equal"] - used["none"] < (used["other"] - used["none"]) / 2)  # fmt: skip
    say(f"the slow candidate takes {ratio:.2f} times the live one's seconds for an item")
    report(benchmark="delivery", value=cost["cost"], accept=MOST_COST, noise=cost["noise"], wrong=wrong,
           of=REQUESTS, promoted_after=found["good"]["by_candidate"], memory_mb=used, ok=ok)  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("artifacts/digits/bundle"))
