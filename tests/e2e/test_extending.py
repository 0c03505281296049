"""docs/extending.md, followed literally in a copy of the project: its files are written, its line is run and asked."""

import json
import re
import subprocess
from pathlib import Path

import httpx
import pytest
import yaml

from base.processes import free_port
from data import golden
from data.signature import Signature
from tests.e2e.line_copy import ROOT, copy_project, environment

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
PAGE = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
DIGITS = yaml.safe_load((ROOT / "pipelines/recipes/digits.yaml").read_text())["source"]["sha256"]


def call(folder: Path, command: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(PYTHONPATH=str(folder)),
        shell=True,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_project(tmp_path_factory.mktemp("extending") / "metroline")
    blocks = re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", PAGE, flags=re.S)
    assert [name for name, _ in blocks] == [
        "models/perceptron.py", "pipelines/recipes/digits-perceptron.yaml", "pipelines/tasks/robust_regression.py",
    ]  # fmt: skip
    for name, text in blocks:
        (folder / name).write_text(text.replace("DIGITS", DIGITS), encoding="utf-8")
    params = folder / "params.yaml"
    params.write_text(params.read_text() + "- digits-perceptron\n")
    return folder


def test_a_new_network_is_trained_released_and_answers(project: Path) -> None:
    shown = call(project, "metroline run digits-perceptron")
    assert re.search(r"digits-perceptron:[0-9a-f]{12} is live and answers", shown)
    bundle, port = project / "artifacts/digits-perceptron/bundle", free_port()
    signature = Signature.load(bundle / "signature.json")
    item = golden.load(bundle, signature)[0]
    process = subprocess.Popen(
        ["metroline", "serve", "digits-perceptron", "--port", str(port)], cwd=project,
        env=environment(PYTHONPATH=str(project)), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        assert any("serving at" in line for line in process.stderr)
        body, kind = golden.request(signature, item)
        url = f"http://127.0.0.1:{port}/v1/models/digits-perceptron/predict"
        answer = httpx.post(url, content=body, headers={"Content-Type": kind}, timeout=30, trust_env=False)
        assert golden.compare(signature, item, golden.answers(signature, answer.json())) is None
    finally:
        process.terminate()
        process.wait(60)


def test_a_new_task_is_trained_and_judged(project: Path) -> None:
    recipe = yaml.safe_load((project / "pipelines/recipes/digits-perceptron.yaml").read_text())
    line = re.search(r"^    task: (\{kind: robust-regression.*\})$", PAGE, flags=re.M)
    assert line is not None
    recipe |= {"task": yaml.safe_load(line[1]), "gates": [], "evaluate": {}}
    (project / "pipelines/recipes/digits-robust.yaml").write_text(yaml.safe_dump(recipe))
    for stage in ("fetch", "prepare", "train", "evaluate"):
        call(project, f"python -m pipelines.commands.cli stage {stage} digits-robust")
    metrics = json.loads((project / "artifacts/digits-robust/metrics.json").read_text())
    assert metrics["test"]["rmse"] < 0.6 * metrics["baselines"]["floor_rmse"]
