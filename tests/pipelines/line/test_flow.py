"""The Prefect flow on small real stages: one real server for all tests, real DVC, real subprocesses."""

import io
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from base.errors import MetrolineError
from pipelines.line import dvc as line
from pipelines.line import flow as flows
from pipelines.line.console import Reporter
from tests.pipelines.line.scratch_project import ROOT, alive, behave, prefect_server, runs, wait_for


@pytest.fixture(scope="module")
def server(prefect_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prefect_server(tmp_path_factory.mktemp("flows"), prefect_home) as url:
        yield url


def run(server: str, recipe: str = "one", force: list[str] | None = None) -> tuple[dict[str, str], str]:
    """The flow's result and what was shown."""
    console = Console(file=io.StringIO(), width=200)
    try:
        return flows.run_here(recipe, Reporter(console), force or [], server), console.file.getvalue()
    except BaseException as error:
        error.shown = console.file.getvalue()
        raise


def last_run(server: str, name: str = "one") -> dict[str, Any]:
    """The newest flow run with its task runs and logs, as the server has them."""
    import httpx

    api = httpx.Client(base_url=server, trust_env=False)
    flow = api.post("/flow_runs/filter", json={"sort": "START_TIME_DESC", "limit": 1}).json()[0]
    only = {"flow_runs": {"id": {"any_": [flow["id"]]}}}
    deadline = time.monotonic() + 15  # task runs and logs arrive a moment later
    while True:
        tasks = {task["name"].rsplit("-", 1)[0]: task for task in api.post("/task_runs/filter", json=only).json()}
        logs = api.post("/logs/filter", json={"logs": {"flow_run_id": {"any_": [flow["id"]]}}, "limit": 200}).json()
        if (tasks and all(task["end_time"] for task in tasks.values())) or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    artifacts = api.post("/artifacts/filter", json={"artifacts": {"flow_run_id": {"any_": [flow["id"]]}}}).json()
    return {"flow": flow, "tasks": tasks, "logs": [entry["message"] for entry in logs], "artifacts": artifacts}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "RETRY_DELAYS", (0.1, 0.1))


def test_a_run_is_recorded(server, project):
    outcome, shown = run(server)
    assert outcome == {"fetch": "ran", "train": "ran", "evaluate": "ran"}
    assert shown.index("✓ fetch") < shown.index("✓ train") < shown.index("✓ evaluate")
    found = last_run(server)
    assert found["flow"]["state_type"] == "COMPLETED"
    assert {"fetch@one", "train@one", "evaluate@one"} <= set(found["tasks"])
    assert "train says hello" in found["logs"]
    table = [artifact for artifact in found["artifacts"] if artifact["key"] == "one-metrics"]
    assert len(table) == 1
    assert '"test.loss"' in table[0]["data"]
    assert "1.5" in table[0]["data"]

    outcome, shown = run(server)
    assert set(outcome.values()) == {"fresh"}
    assert shown.count("fresh") == 3
    outcome, _ = run(server, force=["train"])
    assert outcome == {"fetch": "fresh", "train": "ran", "evaluate": "fresh"}, "equal outputs leave the rest fresh"
    assert (runs(project, "fetch"), runs(project, "train"), runs(project, "evaluate")) == (1, 2, 1)


def test_the_network_gets_three_tries(server, project):
    behave(project, fetch={"failures": 2, "network": True})
    outcome, shown = run(server)
    assert outcome["fetch"] == "ran"
    assert "fetch cannot, try 1; trying again in 0.1 s" in shown
    assert "fetch cannot, try 2; trying again in 0.1 s" in shown
    assert runs(project, "fetch") == 3


def test_it_gives_up_after_three(server, project):
    behave(project, fetch={"failures": 9, "network": True})
    with pytest.raises(line.StageFailed, match="fetch cannot, try 3"):
        run(server)
    assert runs(project, "fetch") == 3
    assert last_run(server)["flow"]["state_type"] == "FAILED"


@pytest.mark.parametrize(
    "told", [{"fetch": {"failures": 1}}, {"train": {"failures": 1}}, {"train": {"failures": 1, "network": True}}]
)
def test_nothing_else_is_tried_again(server, project, told):
    behave(project, **told)
    stage = next(iter(told))
    with pytest.raises(line.StageFailed, match=f"{stage} cannot, try 1"):
        run(server)
    assert runs(project, stage) == 1


def test_a_time_out_ends_the_whole_group(server, project, monkeypatch):
    monkeypatch.setenv("METROLINE_TIMEOUT_TRAIN", str(6 / 60))
    behave(project, train={"seconds": 300, "child": True})
    with pytest.raises(MetrolineError, match=r"train@one was stopped after 0.1 minutes \(METROLINE_TIMEOUT_TRAIN"):
        run(server)
    assert not alive(int(wait_for(Path("train.pid"))))
    assert not alive(int(wait_for(Path("child.pid"))))
    found = last_run(server)
    assert found["tasks"]["train@one"]["state_name"] == "TimedOut"
    assert found["flow"]["state_type"] == "FAILED"


@pytest.mark.parametrize("text", ["0", "-1", "soon", "nan", "inf", "1e9"])
def test_a_bad_time_out(server, project, monkeypatch, text):
    monkeypatch.setenv("METROLINE_TIMEOUT_TRAIN", text)
    with pytest.raises(MetrolineError, match=f"METROLINE_TIMEOUT_TRAIN='{text}' is not a number of minutes"):
        flows.task_options("train")


def test_two_runs_at_once_queue(server, project):
    import subprocess
    import sys

    behave(project, fetch={"seconds": 4})
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
        f"from tests.pipelines.line.test_flow import run; run({server!r})"
    )
    other = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PREFECT_API_URL": server})
    wait_for(Path("fetch.pid"))
    _, shown = run(server)
    assert other.wait() == 0
    assert "waiting for another DVC command to finish with the files of fetch@one" in shown
    assert [runs(project, stage) for stage in ("fetch", "train", "evaluate")] == [1, 1, 1], shown
