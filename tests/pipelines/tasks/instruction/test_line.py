"""A tiny chat model is taught, judged against what it was, and exported: numbers are recomputed, gates hold."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from base.errors import MetrolineError
from base.files import read_json
from data.text.shards import Shards
from models.checkpoint import load
from pipelines.evaluation import evaluate
from pipelines.exporting.stage import export
from pipelines.paths import Paths
from pipelines.recipe import gates, kinds
from pipelines.recipe.consistency import problems
from pipelines.tasks.instruction import forgetting
from pipelines.tasks.instruction.config import PlainText
from pipelines.tasks.language_modelling.imported import imported
from pipelines.training.stage import train
from tests.pipelines import small_line
from tests.pipelines.tasks.instruction import small_chats


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """Trained, evaluated and exported."""
    paths = small_chats.prepared(tmp_path_factory.mktemp("taught"))
    recipe = small_chats.recipe()
    train(recipe, paths)
    evaluate(recipe, paths, paths.pretrained)
    export(recipe, paths)
    return paths


def plainly(model: torch.nn.Module, test: Shards) -> tuple[float, int]:
    """Nats of all answers and how many tokens these have, one chat at a time."""
    nats, targets = 0.0, 0
    for chat in range(len(test)):
        tokens = torch.from_numpy(test.document(chat))
        learnt = torch.from_numpy(test.mask_at(int(test.offsets[chat]), len(tokens)))[1:]
        with torch.no_grad():
            losses = F.cross_entropy(model(tokens[None, :-1])[0], tokens[1:], reduction="none")
        nats += float(losses[learnt].double().sum())
        targets += int(learnt.sum())
    return nats, targets


def test_the_losses_are_those_of_the_answers(taught):
    metrics, test = read_json(taught.metrics), Shards(taught.prepared, "test")
    for name, model in (
        ("test.loss", load(taught.checkpoint)),
        ("baselines.base_loss", imported(taught.pretrained, 259)),
    ):
        nats, targets = plainly(model.eval(), test)
        section, _, key = name.partition(".")
        assert metrics[section][key] == pytest.approx(nats / targets, rel=1e-4)
    assert metrics["test"]["targets"] == targets == test.entry["targets"]


def test_a_model_that_has_learnt_is_better_and_passes_its_gates(taught):
    metrics = read_json(taught.metrics)
    values = gates.measured(metrics, read_json(taught.bundle / "parity.json"))
    gates.require([gates.floor(metrics), "test.gain_low > 0", "test.stop_rate >= 0.5"], values)
    assert metrics["test"]["gain"] == pytest.approx(metrics["baselines"]["base_loss"] - metrics["test"]["loss"])
    assert metrics["test"]["gain_low"] < metrics["test"]["gain"] < metrics["test"]["gain_high"]


def test_all_that_the_task_says_it_measures_is_measured(taught):
    values = gates.measured(read_json(taught.metrics), read_json(taught.bundle / "parity.json"))
    assert set(kinds.task("instruction").measured) <= set(values)


def test_forgetting_is_the_rise_of_perplexity_on_other_text(taught):
    base = read_json(taught.metrics)["base"]
    tokens = forgetting.plain_tokens(PlainText(tokens=256), small_chats.recipe().data.clean,
                                     forgetting.Tokenizer.load(taught.prepared / "tokenizer.json"))  # fmt: skip
    for name, model in (
        ("perplexity", imported(taught.pretrained, 259)),
        ("tuned_perplexity", load(taught.checkpoint)),
    ):
        nats = []
        for at in range(0, 256, 64):
            window = torch.tensor(tokens[at : at + 65])
            with torch.no_grad():
                nats.append(F.cross_entropy(model.eval()(window[None, :-1])[0], window[1:], reduction="sum"))
        assert base[name] == pytest.approx(math.exp(float(sum(nats)) / 256), rel=1e-4)
    assert base["perplexity_delta"] == pytest.approx(base["tuned_perplexity"] / base["perplexity"] - 1)
    assert base["tokens"] == 256


def test_the_base_itself_has_no_gain(taught, tmp_path):
    """What was not taught is not released: the floor and the gain's gate hold it."""
    paths = small_line.copy(taught, tmp_path / "line")
    for path in (paths.pretrained / "files").glob("*.*"):
        (paths.checkpoint / path.name).write_bytes(path.read_bytes())
    evaluate(small_chats.recipe(), paths, paths.pretrained)
    metrics = read_json(paths.metrics)
    assert (metrics["test"]["gain"], metrics["test"]["gain_low"], metrics["base"]["perplexity_delta"]) == (0, 0, 0)
    with pytest.raises(MetrolineError, match="2 of 2 gates failed"):
        gates.require([gates.floor(metrics), "test.gain_low > 0"], gates.measured(metrics, {}))


def test_evaluating_again_changes_no_byte(taught, tmp_path):
    paths = small_line.copy(taught, tmp_path / "line")
    evaluate(small_chats.recipe(), paths, paths.pretrained)
    assert paths.metrics.read_bytes() == taught.metrics.read_bytes()
    for name in ("reference.json", "samples.json"):
        assert (paths.evaluation / name).read_bytes() == (taught.evaluation / name).read_bytes()


def test_the_drift_reference_is_of_prompts_alone(taught):
    reference, test = read_json(taught.evaluation / "reference.json"), Shards(taught.prepared, "test")
    model, losses = load(taught.checkpoint).eval(), []
    for chat in range(len(test)):
        tokens = test.document(chat)
        shown = min(16, int(np.flatnonzero(test.mask_at(int(test.offsets[chat]), len(tokens)))[0]))
        window = torch.from_numpy(tokens[:shown])
        with torch.no_grad():
            losses.append(float(F.cross_entropy(model(window[None, :-1])[0], window[1:])))
    assert reference["loss_mean"] == pytest.approx(np.mean(losses), rel=1e-4)
    assert (reference["prompts"], reference["tokens"]) == (len(test), 16)


def test_the_bundle_is_a_chat_models(taught):
    listed = {entry.name for entry in taught.bundle.iterdir()}
    assert {"chat_template.jinja", "model.int8.onnx", "model.safetensors", "README.md"} <= listed
    assert json.loads((taught.bundle / "serving.json").read_text())["eos"] == [258, 0]
    card = (taught.bundle / "README.md").read_text()
    metrics = read_json(taught.metrics)
    for number in (f"{metrics['test']['loss']:.4f}", f"{metrics['baselines']['base_loss']:.4f}",
                   f"{metrics['test']['gain_low']:.4f}", f"{100 * metrics['test']['stop_rate']:.1f} %",
                   f"{100 * metrics['base']['perplexity_delta']:+.2f} %"):  # fmt: skip
        assert number in card


def test_without_the_first_weights_nothing_is_measured(taught):
    with pytest.raises(MetrolineError, match="the weights that training began with are missing"):
        evaluate(small_chats.recipe(), taught)


@pytest.mark.parametrize(("plain_text", "message"), [
    ({"path": "nowhere.txt"}, "there is no file nowhere.txt"),
    ({"sha256": "0" * 64}, "is not what the recipe pins"),
])  # fmt: skip
def test_another_plain_text_than_the_recipe_pins(plain_text, message, taught):
    tokenizer = forgetting.Tokenizer.load(taught.prepared / "tokenizer.json")
    with pytest.raises(MetrolineError, match=message):
        forgetting.plain_tokens(PlainText(**plain_text), small_chats.recipe().data.clean, tokenizer)


def test_a_plain_text_of_a_few_words_is_refused(taught, tmp_path):
    path = tmp_path / "few.txt"
    path.write_text("A few words.")
    tokenizer = forgetting.Tokenizer.load(taught.prepared / "tokenizer.json")
    config = PlainText(path=str(path), sha256=forgetting.sha256(Path(path)))
    with pytest.raises(MetrolineError, match="too few to measure forgetting on"):
        forgetting.plain_tokens(config, small_chats.recipe().data.clean, tokenizer)


PROBLEMS = [
    ({"pretrained": {}}, r"pretrained\.source: chats are taught to a model that has been trained"),
    ({"model": {"layers": 3}}, r"model\.layers: has no effect with pretrained\.source"),
    ({"model": {"kind": "bigram"}}, r"model\.kind: chats are taught to a decoder, not to bigram"),
    ({"data": {"length": 4096}}, r"train\.sequence: chats of data\.length \(4096\) do not fit into 128"),
    ({"train": {**small_chats.TRAIN, "phases": [{"steps": 2, "batch": 2, "sequence": 64}]}}, r"train\.phases: chats"),
]


@pytest.mark.parametrize(("sections", "message"), PROBLEMS)
def test_sections_that_contradict_each_other(sections, message):
    found = list(problems(small_chats.recipe(**sections)))
    assert any(re.match(message, problem) for problem in found), found
