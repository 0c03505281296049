"""A candidate beside the live model on a real endpoint: shadow and canary, good and bad."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from base.delivery import Plan
from serving.app.run import Server, start
from tests.serving import candidates, tiny_bundle
from tests.serving.clients import metric
from tests.serving.forward_bundles import row

ROWS = [json.loads(row(seed)) for seed in range(64)]
Try = Callable[[Path, Plan], Server]


@pytest.fixture
def tried(tmp_path: Path, flower: Path) -> Iterator[Try]:
    """Starts an endpoint whose live release is `flower` and that tries a candidate."""
    servers: list[Server] = []

    def begin(candidate: Path, plan: Plan, **settings: str) -> Server:
        candidates.released(tmp_path / "home", flower, candidate, plan)
        environment = {"BENTOML_HOME": str(tmp_path / "home"), "METROLINE_THREADS": "1"} | settings
        server = start(models=["flower"], port=0, log=tmp_path / "log", environment=environment, tied=True)
        servers.append(server)
        server.wait_ready()
        return server

    yield begin
    for server in servers:
        server.kill()


def state(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{server.url}/v1/models/flower/delivery", trust_env=False).json()
    return found


def ask(server: Server, most: int = 4000, clients: int = 4) -> list[httpx.Response]:
    """Requests until the rule has decided."""
    answers: list[httpx.Response] = []
    end = time.monotonic() + 30

    def client(number: int) -> None:
        with httpx.Client(base_url=server.url, trust_env=False, timeout=20) as http:
            for count in range(most // clients):
                seed = (number + clients * count) % len(ROWS)
                answers.append(http.post("/v1/models/flower/predict", json={"inputs": ROWS[seed]}))
                if (count % 10 == 0 and state(server)["decision"]) or time.monotonic() > end:
                    return

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(client, range(clients)))
    return answers


@pytest.mark.parametrize("mode", ["shadow", "canary"])
def test_a_good_candidate_is_promoted(tmp_path: Path, tried: Try, mode: str) -> None:
    server = tried(candidates.same(tmp_path / "same"), candidates.plan(mode))
    answers = ask(server)
    found = state(server)
    assert found["decision"] == "promote", found
    assert found["outcomes"]["equal"] == found["outcomes"]["compared"] >= 150
    assert {each.status_code for each in answers} == {200}
    versions = {each.headers["x-model-version"] for each in answers}
    assert versions == ({found["live"]} if mode == "shadow" else {found["live"], found["candidate"]})
    assert metric(server, "metroline_delivery_decisions_total", decision="promote") == 1
    assert '"candidate decided"' in server.log.read_text()


@pytest.mark.parametrize("mode", ["shadow", "canary"])
@pytest.mark.parametrize("kind", candidates.BAD)
def test_a_bad_candidate_is_rolled_back(tmp_path: Path, tried: Try, mode: str, kind: str) -> None:
    server = tried(candidates.BAD[kind](tmp_path / kind), candidates.plan(mode))
    answers = ask(server)
    found = state(server)
    assert found["decision"] == "rollback", found
    assert {"swapped": "agreement", "slow": "latency", "not_finite": "finite"}[kind] in found["why"]
    if mode == "shadow":
        assert {(each.status_code, each.headers["x-model-version"]) for each in answers} == {(200, found["live"])}
    wrong = [each for each in answers if each.status_code != 200]
    assert len(wrong) <= 25
    after = [httpx.post(f"{server.url}/v1/models/flower/predict", json={"inputs": each}, trust_env=False)
             for each in ROWS[:20]]  # fmt: skip
    assert {each.headers["x-model-version"] for each in after} == {found["live"]}
    assert {each.status_code for each in after} == {200}


def test_a_model_that_writes_text(tmp_path: Path, bundle: Path) -> None:
    """A release of the same weights is promoted; one that thinks prompts unlikely is found though it may write what it
    likes."""
    script = tiny_bundle.bytes_of("?", tiny_bundle.byte_tokenizer())
    for kind, decision in (("same", "promote"), ("other", "rollback")):
        candidate = tiny_bundle.build(tmp_path / kind, int8=True, script=None if kind == "same" else script)
        (candidate / "README.md").write_text(f"# {kind}\n")
        candidates.resealed(candidate)
        plan = candidates.plan("shadow", share=1.0, requests=40, slower=20.0)
        candidates.released(tmp_path / f"home-{kind}", bundle, candidate, plan)
        environment = {"BENTOML_HOME": str(tmp_path / f"home-{kind}"), "METROLINE_THREADS": "1"}
        with start(models=["tiny"], port=0, log=tmp_path / "log", environment=environment, tied=True) as server:
            server.wait_ready()
            with httpx.Client(base_url=server.url, trust_env=False, timeout=20) as http:
                for count in range(2000):
                    body = {"prompt": f"the people of the {count} states", "max_tokens": 4, "temperature": 0}
                    assert http.post("/v1/completions", json=body).status_code == 200
                    found = http.get("/v1/models/tiny/delivery").json()
                    if found["decision"]:
                        break
            assert found["decision"] == decision, found["tests"]
            assert kind == "same" or "likelihood" in found["why"]
