"""The whole line on recipe `tiny`, through the command line, as a user runs it. Each test builds on the one before.

Interrupted and resumed; the same bytes from `dvc repro` alone; nothing to do; the demo; a new release that a running
endpoint takes over; rollback; a release that does not serve.
"""

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.e2e.line_copy import environment

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
TINY = "pipelines/recipes/tiny.yaml"


def call(folder: Path, command: str, *, code: int = 0, **variables: str) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        command, cwd=folder, env=environment(**variables), shell=True, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def live(folder: Path) -> dict[str, str]:
    pointers = json.loads((folder / ".metroline/bentoml/metroline/tiny.json").read_text())
    assert (pointers.get("candidate"), pointers.get("plan")) == (None, None)
    return {name: pointers[name] for name in ("live", "previous")}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_interrupted_in_training_and_resumed(clone: Path, twin: Path) -> None:
    with (clone / "log").open("w") as log:
        process = subprocess.Popen(
            ["metroline", "run", "tiny"], cwd=clone, env=environment(), stderr=log, start_new_session=True
        )
        states = clone / "artifacts/tiny/training/states"
        deadline = time.monotonic() + 240
        while not any(states.rglob("*.safetensors")):
            assert process.poll() is None, (clone / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(90) == 130
    shown = (clone / "log").read_text()
    assert "✓ prepare" in shown
    assert "■ train" in shown
    assert shown.endswith("stopped\n")
    assert not (clone / "artifacts/tiny/checkpoint").exists()

    done = call(clone, "metroline run tiny")
    assert re.search(r"training goes on: found the state of step \d+", done.stderr), done.stderr
    assert done.stderr.count("fresh") == 2, "fetch and prepare were done"
    assert re.search(r"tiny:[0-9a-f]{12} is live and answers", done.stderr)
    assert live(clone)["previous"] is None


def test_dvc_alone_gives_the_same_bytes(clone: Path, twin: Path) -> None:
    call(twin, "metroline stage fetch tiny")  # in no Git repository; this tells DVC so
    call(twin, "dvc repro release@tiny")
    ours, theirs = (yaml.safe_load((folder / "dvc.lock").read_text())["stages"] for folder in (clone, twin))
    stages = ("fetch", "prepare", "train", "evaluate", "export", "release")
    assert set(ours) == {"code", *(f"{stage}@tiny" for stage in stages)}
    for stage in ours:
        assert ours[stage] == theirs[stage], stage


def test_nothing_to_do(clone: Path) -> None:
    """It is quick (`benchmarks/noop_run.py` measures it) because it loads nothing that only stages need."""
    done = call(clone, "python -X importtime -m pipelines.commands.cli run tiny")
    assert "nothing is stale" in done.stderr
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "dvc.repo" in loaded
    assert not {"torch", "prefect", "onnxruntime", "bentoml", "pandas", "sklearn", "matplotlib"} & loaded
    shown = " ".join(call(clone, "metroline status tiny").stdout.split())
    assert f"tiny {'fresh ' * 6}{live(clone)['live'].partition(':')[2]} -" in shown


def test_an_edit_of_the_endpoint_trains_nothing_again(clone: Path) -> None:
    path = clone / "serving/engines/decode/engine.py"
    text = path.read_text()
    path.write_text(text + "\n# an edit\n")
    assert "nothing is stale" in call(clone, "metroline run tiny").stderr
    path.write_text(text)


def test_a_new_task_and_a_new_model_make_nothing_stale(clone: Path) -> None:
    """Nor is a training state orphaned; an edit of the decoder does both."""
    states = sorted((clone / "artifacts/tiny/training/states").iterdir())
    files = {
        clone / "pipelines/tasks/poetry.py": "from base import errors\n\n\nclass Task:\n    engine = 'forward'\n",
        clone / "models/rhyme.py": "from models.common.config import ModelConfig\n\nConfig = ModelConfig\n",
    }
    for path, text in files.items():
        path.write_text(text)
    assert "nothing is stale" in call(clone, "metroline run tiny").stderr
    stages = " ".join(f"{stage}@tiny" for stage in ("fetch", "prepare", "train", "evaluate", "export", "release"))
    assert "up to date" in call(clone, f"dvc status code {stages}").stdout
    for path in files:
        path.unlink()
    decoder = clone / "models/decoder/model.py"
    text = decoder.read_text()
    decoder.write_text(text + "\n# an edit\n")
    shown = " ".join(call(clone, "metroline status tiny").stdout.split())
    assert "train: code's train.tiny modified" in shown
    assert "prepare:" not in shown
    decoder.write_text(text)
    assert "nothing is stale" in call(clone, "metroline run tiny").stderr
    assert sorted((clone / "artifacts/tiny/training/states").iterdir()) == states


def test_the_demo_answers_and_takes_the_next_port(clone: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = call(clone, f"metroline demo --recipe tiny --once --port {port}")
    found = re.search(rf"port {port} is taken, so the endpoint gets (\d+)", done.stderr)
    assert found
    url = f"http://127.0.0.1:{found[1]}"
    assert f"{url}/v1/completions" in done.stderr
    assert f"playground  {url}/" in done.stderr
    assert len(done.stdout.strip()) > 20, "a completion"
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{url}/livez", trust_env=False)


@pytest.fixture(scope="module")
def endpoint(clone: Path) -> Iterator[str]:
    """`metroline serve tiny`, started as a user would."""
    port = free_port()
    with (clone / "serve.log").open("w") as log:
        process = subprocess.Popen(
            ["metroline", "serve", "tiny", "--port", str(port)], cwd=clone, env=environment(), stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 60
    while "serving at" not in (clone / "serve.log").read_text():
        assert process.poll() is None, (clone / "serve.log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield url
    stop_endpoint(clone)
    assert process.wait(60) == 0


def stop_endpoint(clone: Path) -> None:
    """End the endpoint that has left a note of itself; without one there is nothing to end."""
    notes = clone / ".metroline/bentoml/metroline/endpoints"
    for note in notes.iterdir():
        os.kill(json.loads(note.read_text())["pid"], signal.SIGINT)
        deadline = time.monotonic() + 60
        while note.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)


def served(url: str) -> str:
    model = httpx.get(f"{url}/v1/models", trust_env=False).json()["data"][0]
    return f"{model['id']}:{model['version']}"


def test_chat(clone: Path, endpoint: str) -> None:
    assert "The state of" in call(clone, f"metroline chat --url {endpoint} 'The state of'").stdout
    assert call(clone, f"echo 'The people' | metroline chat --url {endpoint}").stdout


def test_a_new_release_reaches_the_running_endpoint_and_dvc_shows_what_changed(clone: Path, endpoint: str) -> None:
    first = live(clone)["live"]
    assert served(endpoint) == first
    call(clone, "git init -q && git config user.email a@b && git config user.name t && git add . && git commit -qm one")
    recipe = clone / TINY
    recipe.write_text(recipe.read_text().replace("evaluate:\n", "evaluate:\n  stride: 1.0\n"))
    done = call(clone, "metroline run tiny")
    assert f"reloading {endpoint}" in done.stderr
    second = live(clone)["live"]
    assert live(clone) == {"live": second, "previous": first}
    assert second != first
    assert served(endpoint) == second

    assert re.search(
        r"artifacts/tiny/metrics.json +test.loss +[\d.]+ +[\d.]+ +-?[\d.]+", call(clone, "dvc metrics diff").stdout
    )
    assert "evaluate.stride" in call(clone, "dvc params diff").stdout
    call(clone, "dvc plots diff")
    page = (clone / "dvc_plots/index.html").read_text()
    for title in ("training loss", "validation loss", "test loss by group"):
        assert f"tiny, {title}" in page
    call(clone, "dvc push train@tiny")
    assert any((clone / ".metroline/dvc-remote").rglob("*")), "the default remote needs no set-up"


def test_rollback_reaches_it_too(clone: Path, endpoint: str) -> None:
    before = live(clone)
    assert call(clone, "metroline rollback tiny").stdout == f"{before['previous']} is live\n"
    assert live(clone) == {"live": before["previous"], "previous": before["live"]}
    assert served(endpoint) == before["previous"]
    assert "nothing is stale" in call(clone, "metroline run tiny").stderr, "a rollback is respected"
    assert served(endpoint) == before["previous"]


def test_a_lost_store_is_filled_again(clone: Path, endpoint: str) -> None:
    pointers = clone / ".metroline/bentoml/metroline/tiny.json"
    pointers.unlink()
    done = call(clone, "metroline run tiny")
    assert "is not live yet: releasing it again" in done.stderr
    assert served(endpoint) == live(clone)["live"]


def test_a_release_that_does_not_serve(clone: Path) -> None:
    stop_endpoint(clone)
    pointers = clone / ".metroline/bentoml/metroline/tiny.json"
    good = live(clone)["live"]
    other = next(
        f"tiny:{path.name}" for path in (clone / ".metroline/bentoml/models/tiny").iterdir()
        if path.is_dir() and path.name != good.partition(":")[2]
    )  # fmt: skip
    pointers.write_text(json.dumps({"live": other, "previous": None}))
    done = call(clone, "metroline run tiny --force release", code=1, METROLINE_THREADS="none")
    assert f"{good} does not serve" in done.stderr
    assert "METROLINE_THREADS='none' is not a whole number" in done.stderr
    assert live(clone) == {"live": other, "previous": good}, "rolled back"
    again = call(clone, "metroline run tiny", code=1)
    assert f"{good} does not serve" in again.stderr
    assert "--force release tries it again" in again.stderr
    call(clone, "metroline run tiny --force release")
    assert live(clone)["live"] == good


def test_a_gate_that_fails_releases_nothing(clone: Path) -> None:
    before = live(clone)
    recipe = clone / TINY
    text = recipe.read_text()
    changed = re.sub(r"(?ms)^gates:.*?(?=^\S|\Z)", "gates: [test.bits_per_byte <= 0.1]\n", text)
    assert changed != text
    recipe.write_text(changed)
    done = call(clone, "metroline run tiny", code=1)
    assert "FAILED  test.bits_per_byte" in done.stderr
    assert live(clone) == before
    recipe.write_text(text)
