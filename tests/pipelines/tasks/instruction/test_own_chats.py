"""From a file of own chats to an answer: `init --from`, every stage up to the bundle, a request to its endpoint."""

import json
from pathlib import Path

import openai
import pytest
import yaml

from data.fetch.own_files import WEIGHTS
from data.fetch.sources import pin
from pipelines.line import stages
from pipelines.paths import Paths
from pipelines.recipe.load import RECIPES
from pipelines.recipe.new import create
from serving.app.run import start
from tests import chats
from tests.serving import clients

ROOT = Path(__file__).resolve().parents[4]
TEXT = ROOT / "data/examples/speeches/1790-Washington.txt"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a tiny chat model of others as the recipe `talker`, imported."""
    root = tmp_path_factory.mktemp("project")
    (root / RECIPES).mkdir(parents=True)
    (root / "params.yaml").write_text("bases: {}\nrecipes:\n- talker\n")
    weights = chats.model(root / "weights", context=512) / "files"
    recipe = {
        "description": "bytes at random", "licence": "made up for tests",
        "source": {"kind": "file", "path": str(TEXT), "sha256": pin(TEXT).sha256},
        "pretrained": {"source": {"kind": "file", "path": "weights/files",
                                  "sha256": pin(weights, suffixes=WEIGHTS).sha256}},
        "data": {"documents": {"separator": "\n\n"}, "tokenizer": {"kind": "pretrained"}},
        "model": {}, "task": {"kind": "language-modelling"}, "train": {},
    }  # fmt: skip
    (root / RECIPES / "talker.yaml").write_text(yaml.safe_dump(recipe))
    return root


def test_own_chats_become_a_model_that_answers(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    for stage in ("fetch", "prepare", "train"):
        stages.run(stage, "talker", root)
    rows: list[object] = [
        {"messages": [{"role": "user", "content": row["instruction"]}, {"role": "assistant", "content": row["output"]}]}
        for row in chats.rows()
    ]
    data = chats.write_rows(root / "chats.jsonl", rows)
    path, found = create("mine", data, root, base="talker")
    assert "84 chats" in found.said
    recipe = yaml.safe_load(path.read_text())
    recipe["train"] |= {"lr": 0.01, "steps": 60, "precision": "fp32", "evaluate_every": 20}  # it knows nothing yet
    recipe["evaluate"] = {"answers": 8, "answer_tokens": 24, "plain_text": {"tokens": 256, "context": 64}}
    recipe["export"] |= {"int8_tokens": 256, "calibration_tokens": 256, "lengths": [1, 7], "batch_sizes": [1]}
    path.write_text(yaml.safe_dump(recipe))
    for stage in ("fetch", "base", "prepare", "train", "evaluate", "export"):
        stages.run(stage, "mine", root)

    bundle = Paths("mine", root).bundle
    metrics = json.loads(Paths("mine", root).metrics.read_text())
    assert metrics["test"]["gain_low"] > 0
    with start(bundle, port=0) as server:
        server.wait_ready()
        client: openai.OpenAI = clients.official(server)
        asked = [{"role": "user", "content": chats.rows()[0]["instruction"]}]
        answer = client.chat.completions.create(model="mine", messages=asked, max_tokens=24, temperature=0)  # type: ignore[arg-type]
    assert answer.choices[0].finish_reason == "stop", "it has learnt to end its answers"
    assert answer.choices[0].message.content
