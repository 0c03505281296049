"""A candidate through the line, on a real endpoint under load: promoted or rolled back by rule, and nothing is lost."""

import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from base.children import python
from base.delivery import Plan
from base.endpoints import Endpoint, endpoints
from base.errors import MetrolineError
from base.files import read_json, write_json
from pipelines.line import delivery, deployment
from pipelines.paths import Paths
from pipelines.release.store import Pointers, Store
from tests.serving import candidates, forward_bundles
from tests.serving.forward_bundles import row

ROWS = [json.loads(row(seed)) for seed in range(64)]


class Traffic:
    """Clients that never stop asking while inside."""

    def __init__(self, url: str, clients: int = 3) -> None:
        self.statuses: Counter[str] = Counter()
        self.versions: set[str] = set()
        self._url, self._stop = url, threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(clients)]

    def __enter__(self) -> "Traffic":
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for each in self._threads:
            each.join()

    def _ask(self, seed: int) -> None:
        with httpx.Client(base_url=self._url, trust_env=False, timeout=30) as http:
            while not self._stop.is_set():
                seed += 1
                try:
                    answer = http.post("/v1/models/flower/predict", json={"inputs": ROWS[seed % len(ROWS)]})
                    self.statuses[str(answer.status_code)] += 1
                    self.versions.add(answer.headers.get("x-model-version", ""))
                except httpx.HTTPError as error:
                    self.statuses[type(error).__name__] += 1


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store whose live release an endpoint serves."""
    folder = tmp_path_factory.mktemp("delivery")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(folder / "home"))
        patch.setenv("METROLINE_THREADS", "1")
        candidates.released(folder / "home", forward_bundles.table(folder / "live"))
        with (folder / "log").open("wb") as log:
            command = python("serving.app.run", "--model", "flower", "--port", "0")
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        while not endpoints(folder / "home", "flower"):
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.1)
        yield folder
        process.terminate()
        process.wait(60)


def try_out(home: Path, candidate: Path, plan: Plan) -> tuple[str, str]:
    """Have it released as a candidate, as the stage does. Returns (live, candidate)."""
    store = Store(home / "home")
    before = store.pointers("flower")
    tag = f"flower:{read_json(candidate / 'manifest.json')['version']}"
    store.put(candidate, tag, labels={})
    store.point("flower", Pointers(before.live, before.previous, tag, plan.values()))
    write_json(Paths("flower", home).release, {"tag": tag})
    assert before.live
    return before.live, tag


def planned(mode: str, name: str, **values: object) -> Plan:
    return candidates.plan(mode, id=name, began=time.time(), minutes=3.0, **values)


def test_a_bad_candidate_stays_out_and_nothing_is_lost(home: Path) -> None:
    live, tag = try_out(home, candidates.swapped(home / "swapped"), planned("canary", "swapped"))
    (endpoint,), said = endpoints(home / "home", "flower"), list[str]()
    assert deployment.is_pending("flower", home)
    with (
        Traffic(endpoint.url) as traffic,
        pytest.raises(delivery.RolledBack, match=r"agreement: .* differ from live's"),
    ):
        deployment.deploy("flower", said.append, home)
    assert set(traffic.statuses) == {"200"}
    assert Store(home / "home").pointers("flower") == Pointers(live, None)
    report = read_json(Paths("flower", home).delivery)
    assert (report["tag"], report["decision"]) == (tag, "rollback")
    assert said[0] == f"{tag} is tried as canary by 50% of the requests, beside {live}"
    shown = delivery.report("flower", home)
    assert shown
    assert shown.startswith(f"# {tag}: rollback")
    assert "| agreement |" in shown
    assert not deployment.is_pending("flower", home)
    with pytest.raises(MetrolineError, match=f"{tag} was rolled back"):
        deployment.check_last("flower", home)


def test_a_good_candidate_goes_live_and_nothing_is_lost(home: Path) -> None:
    live, tag = try_out(home, candidates.same(home / "same"), planned("canary", "good"))
    (endpoint,) = endpoints(home / "home", "flower")
    with Traffic(endpoint.url) as traffic:
        assert deployment.deploy("flower", lambda text: None, home) == tag
    assert set(traffic.statuses) == {"200"}, traffic.statuses
    assert {each.partition(":")[2] for each in (live, tag)} <= traffic.versions
    assert Store(home / "home").pointers("flower") == Pointers(tag, live)
    assert httpx.get(f"{endpoint.url}/v1/models/flower", trust_env=False).json()["version"] == tag.partition(":")[2]


def test_by_hand(home: Path) -> None:
    live, tag = try_out(home, candidates.slow(home / "slow"), planned("shadow", "hand"))
    assert deployment.roll_back("flower", home) == live
    assert Store(home / "home").pointers("flower").candidate is None
    with pytest.raises(MetrolineError, match="flower has no candidate"):
        deployment.promote("flower", home)
    try_out(home, home / "slow", planned("shadow", "hand2"))
    assert deployment.promote("flower", home) == tag
    assert Store(home / "home").pointers("flower") == Pointers(tag, live)


def test_without_an_answer_in_time_it_is_rolled_back(home: Path) -> None:
    live, _ = try_out(home, home / "swapped", planned("shadow", "late"))
    late = Plan.of({**Store(home / "home").pointers("flower").plan, "began": 0.0, "id": "late2", "differ": 1.0})
    try_out(home, home / "swapped", late)
    with pytest.raises(delivery.RolledBack, match="not decided after 3 minutes"):
        deployment.deploy("flower", lambda text: None, home)
    assert Store(home / "home").pointers("flower").live == live


def test_nobody_to_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home"))
    candidates.released(tmp_path / "home", forward_bundles.table(tmp_path / "live"))
    _, tag = try_out(tmp_path, candidates.same(tmp_path / "same"), planned("canary", "alone"))
    with pytest.raises(MetrolineError, match=f"{tag} waits as a candidate: no endpoint serves flower"):
        deployment.deploy("flower", lambda text: None, tmp_path)
    assert Store(tmp_path / "home").pointers("flower").candidate == tag
    assert deployment.is_pending("flower", tmp_path)


@pytest.fixture
def silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An endpoint that takes signals and answers nothing; what was live at each of them."""
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home"))
    reloaded = list[str]()

    class Silent(Endpoint):
        def reload(self) -> None:
            reloaded.append(str(Store(tmp_path / "home").pointers("flower").live))

    for module in (delivery, deployment):
        monkeypatch.setattr(module, "endpoints", lambda home, model: [Silent(1, model, "http://127.0.0.1:9")])
        monkeypatch.setattr(module, "PATIENCE", 0.3)
    candidates.released(tmp_path / "home", forward_bundles.table(tmp_path / "live"))
    return reloaded


def test_a_promotion_that_does_not_serve_is_taken_back_and_remembered(tmp_path: Path, silent: list[str]) -> None:
    """By hand as in a run: the next run does not try the same release again."""
    live, tag = try_out(tmp_path, candidates.same(tmp_path / "same"), planned("canary", "hand3"))
    with pytest.raises(MetrolineError, match=f"{tag} does not serve: .*; {live} is live again"):
        deployment.promote("flower", tmp_path)
    assert Store(tmp_path / "home").pointers("flower").live == silent[-1] == live
    assert not deployment.is_pending("flower", tmp_path)
    with pytest.raises(MetrolineError, match=f"{tag} does not serve"):
        deployment.check_last("flower", tmp_path)


def test_rolled_back_it_is_not_tried_again_though_no_endpoint_follows(tmp_path: Path, silent: list[str]) -> None:
    """Released again without --deploy it would be live at once."""
    live, tag = try_out(tmp_path, candidates.same(tmp_path / "same"), planned("canary", "silent"))
    with pytest.raises(MetrolineError, match=f"{live} is live, but http://127.0.0.1:9 does not serve it"):
        deployment.deploy("flower", lambda text: None, tmp_path)
    assert Store(tmp_path / "home").pointers("flower") == Pointers(live, None)
    assert not deployment.is_pending("flower", tmp_path)
    with pytest.raises(MetrolineError, match=f"{tag} was rolled back: .* does not take it; {live} stays live"):
        deployment.check_last("flower", tmp_path)
