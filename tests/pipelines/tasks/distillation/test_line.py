"""A student learns from a teacher and is better than its twin that does not; killed, it arrives at the same bytes."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from safetensors.numpy import load_file

from base.errors import MetrolineError
from base.files import read_json, sha256
from data.text.shards import Shards
from models.checkpoint import load
from models.decoder.huggingface import load as load_decoder
from pipelines.evaluation import evaluate
from pipelines.exporting.stage import export
from pipelines.paths import Paths
from pipelines.recipe import gates, kinds
from pipelines.recipe.consistency import problems
from pipelines.tasks.distillation import teacher
from pipelines.tasks.distillation.learner import Distilled
from pipelines.tasks.distillation.objective import ALONE
from pipelines.training.stage import train
from tests.pipelines import small_line
from tests.pipelines.tasks.distillation import small_students
from tests.pipelines.training.small_runs import hashes, killed_after


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """A teacher, and what it said of the text; not trained."""
    paths = small_students.fetched(tmp_path_factory.mktemp("prepared"))
    small_students.prepare(paths)
    return paths


@pytest.fixture(scope="module")
def taught(prepared: Paths, tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """Trained, evaluated and exported."""
    paths = small_line.copy(prepared, tmp_path_factory.mktemp("taught") / "line")
    recipe = small_students.recipe()
    train(recipe, paths)
    evaluate(recipe, paths, paths.pretrained / "files")
    export(recipe, paths)
    return paths


def test_what_the_teacher_said_is_what_it_says_of_each_document_alone(prepared):
    said, shards = load_file(prepared.prepared / teacher.FILE), Shards(prepared.prepared, "train")
    model = load_decoder(prepared.pretrained / "files")
    for number in (0, 5, len(shards) - 1):
        begin, tokens = int(shards.offsets[number]), torch.from_numpy(shards.document(number))
        shown = min(len(tokens), 24)  # one window: what follows it has other context
        with torch.no_grad():
            inputs = torch.cat([torch.tensor([shards.eos]), tokens])[:shown]
            log_p = F.log_softmax(model(inputs[None])[0], -1)
        wanted, _ = log_p.topk(8)
        place = slice(begin, begin + shown)
        np.testing.assert_allclose(said["log_p"][place], wanted, rtol=1e-3, atol=1e-4)
        found = log_p.gather(1, torch.from_numpy(said["ids"][place].astype(np.int64)))
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)  # equal ones may change places


def test_asked_again_it_says_the_same_to_the_bit(prepared, tmp_path):
    paths = small_line.copy(prepared, tmp_path / "line")
    before = read_json(paths.prepared / "index.json")
    small_students.prepare(paths)
    assert hashes(paths.prepared) == hashes(prepared.prepared)
    small_students.prepare(paths, small_students.recipe(task={**small_students.TASK, "temperature": 2.0}))
    after = read_json(paths.prepared / "index.json")
    assert after["data_hash"] != before["data_hash"]
    assert after["splits"] == before["splits"]


def test_the_index_says_who_was_asked_and_how(prepared):
    about = read_json(prepared.prepared / "index.json")["teacher"]
    assert about == {
        "weights": sha256(prepared.pretrained / "files/model.safetensors"), "k": 8, "temperature": 1.0, "context": 24,
        "sha256": sha256(prepared.prepared / teacher.FILE),
    }  # fmt: skip


DAMAGED = [
    (lambda file, index: file.unlink(), r"teacher\.safetensors is missing"),
    (lambda file, index: file.write_bytes(file.read_bytes()[:-1] + b"x"), r"teacher\.safetensors: wrong SHA-256"),
    (lambda file, index: small_line.change(index, teacher=None), r"teacher\.safetensors is missing"),
    (lambda file, index: small_line.change(index, teacher={**read_json(index)["teacher"], "k": 4}), "has k 4 and"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "message"), DAMAGED)
def test_what_a_teacher_said_is_taken_only_whole(damage, message, prepared, tmp_path):
    paths = small_line.copy(prepared, tmp_path / "line")
    damage(paths.prepared / teacher.FILE, paths.prepared / "index.json")
    with pytest.raises(MetrolineError, match=message):
        Distilled(small_students.recipe(), paths.prepared)


@pytest.mark.parametrize(("task", "files", "message"), [
    ({"k": 400}, "files", r"task\.k: 400 is more than the tokenizer's 320 tokens"),
    ({}, "nothing", "no pretrained weights"),
])  # fmt: skip
def test_teachers_that_cannot_be_asked(task, files, message, prepared, tmp_path):
    recipe = small_students.recipe(task={**small_students.TASK, **task})
    with pytest.raises(MetrolineError, match=message):
        kinds.task("distillation")(recipe).prepare(prepared.raw, tmp_path / "out", prepared.pretrained / files)


def test_a_batch_has_what_the_teacher_said_of_its_targets(prepared):
    made = Distilled(small_students.recipe(), prepared.prepared)
    made.objective(made.network(torch.Generator().manual_seed(1)))
    places = np.array([0, 1, 0]), np.array([2, 0, 1])
    batch = made.batch(*places, 16, torch.device("cpu"))
    assert batch.inputs["teacher_ids"].shape == (6, 16, 8)
    targets = batch.inputs["targets"].reshape(3, 32)
    for row, start in enumerate(made.starts(*places)):
        assert targets[row].tolist() == made.train.tokens_at(start + 1, 32).tolist()
        ids = batch.inputs["teacher_ids"].reshape(3, 32, 8)[row]
        assert ids.tolist() == made.said["ids"][start + 1 : start + 33].tolist()


def test_the_twins_differ_in_the_teacher_alone(prepared):
    """Same first weights; and the twin's gradient is that of the text alone."""
    made = Distilled(small_students.recipe(), prepared.prepared)
    twins = made.network(torch.Generator().manual_seed(1))
    for one, other in zip(twins.student.parameters(), twins.alone.parameters(), strict=True):
        assert torch.equal(one, other)
        assert one is not other
    objective = made.objective(twins).train()
    batch = made.batch(np.zeros(4, np.int64), np.arange(4), 32, torch.device("cpu"))
    objective(**batch.inputs, seed=torch.tensor(0)).backward()
    tokens, targets = batch.inputs["tokens"], batch.inputs["targets"]
    wanted = F.cross_entropy(twins.alone(tokens).flatten(0, 1), targets.flatten(), reduction="sum")
    weights = list(twins.alone.parameters())
    for weight, gradient in zip(weights, torch.autograd.grad(wanted, weights), strict=True):
        torch.testing.assert_close(weight.grad, gradient, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(twins.student.lm_head.weight.grad, twins.alone.lm_head.weight.grad, atol=1e-3)
    noted = objective.noted()
    assert noted["alone"] == pytest.approx(wanted.item(), rel=1e-4)
    assert set(noted) == {"alone", "teacher", "text"}


def test_a_killed_run_arrives_at_the_same_bytes(prepared, taught, tmp_path):
    paths = small_line.copy(prepared, tmp_path / "line")
    for step in (1, 50, 130):
        with killed_after(step):
            train(small_students.recipe(), paths)
    train(small_students.recipe(), paths)
    assert hashes(paths.checkpoint) == hashes(taught.checkpoint)
    assert hashes(paths.checkpoint / ALONE) == hashes(taught.checkpoint / ALONE)


def test_with_a_teacher_it_is_better_and_the_gates_hold(taught):
    metrics = read_json(taught.metrics)
    values = gates.measured(metrics, read_json(taught.bundle / "parity.json"))
    assert set(kinds.task("distillation").measured) <= set(values)
    gates.require([gates.floor(metrics), "test.gain_low > 0", "baselines.teacher_loss < test.loss"], values)
    assert metrics["test"]["gain"] == pytest.approx(metrics["baselines"]["alone_loss"] - metrics["test"]["loss"])
    card = (taught.bundle / "README.md").read_text()
    for text in (f"{metrics['test']['gain']:.4f} nats a token", f"{metrics['baselines']['alone_loss']:.4f}",
                 sha256(taught.pretrained / "files/model.safetensors")):  # fmt: skip
        assert text in card
    lines = [json.loads(line) for line in (taught.checkpoint / "curves.jsonl").read_text().splitlines()]
    assert all({"alone", "teacher", "text"} <= set(line) for line in lines)
    assert lines[-1]["teacher"] < lines[0]["teacher"]


def test_the_twin_itself_is_not_released(taught, tmp_path):
    paths = small_line.copy(taught, tmp_path / "line")
    for path in (paths.checkpoint / ALONE).iterdir():
        (paths.checkpoint / path.name).write_bytes(path.read_bytes())
    evaluate(small_students.recipe(), paths, paths.pretrained / "files")
    metrics = read_json(paths.metrics)
    assert (metrics["test"]["gain"], metrics["test"]["gain_low"]) == (0, 0)
    with pytest.raises(MetrolineError, match="2 of 2 gates failed"):
        gates.require([gates.floor(metrics), "test.gain_low > 0"], gates.measured(metrics, {}))


def test_without_its_twin_nothing_is_measured(taught, tmp_path):
    paths = small_line.copy(taught, tmp_path / "line")
    (paths.checkpoint / ALONE).rename(paths.checkpoint / "gone")
    with pytest.raises(MetrolineError, match="alone or the teacher is missing"):
        evaluate(small_students.recipe(), paths, paths.pretrained / "files")


def test_the_student_is_a_model_of_its_own(taught):
    """It ends texts with the end of text, whatever the teacher's chats end with, and has its own context."""
    assert load(taught.checkpoint).config.layers == 1
    assert read_json(taught.checkpoint / "tokenizer_config.json")["model_max_length"] == 32
    assert not (taught.checkpoint / "chat_template.jinja").exists()


PROBLEMS = [
    ({"pretrained": {}}, r"pretrained\.source: a student needs a teacher"),
    ({"train": {}}, r"train: a student that is not trained has learnt nothing"),
    ({"train": {**small_students.TRAIN, "clip": 1.0}}, r"train\.clip: clipping would join"),
    ({"train": {**small_students.TRAIN, "adapter": {}}}, r"train\.adapter: the student's weights are new"),
    ({"train": {**small_students.TRAIN, "distributed": "fsdp"}}, r"train\.distributed: .* not sharded"),
    ({"data": {"tokenizer": {"kind": "bpe"}}}, r"data\.tokenizer\.kind: student and teacher must have the same"),
]  # fmt: skip


@pytest.mark.parametrize(("sections", "message"), PROBLEMS)
def test_sections_that_contradict_each_other(sections, message):
    found = list(problems(small_students.recipe(**sections)))
    assert any(re.match(message, problem) for problem in found), found


@pytest.mark.parametrize(("key", "value"), [
    ("temperature", 0), ("temperature", float("nan")), ("temperature", float("inf")), ("weight", 0), ("weight", 1.5),
    ("k", 0), ("context", 1),
])  # fmt: skip
def test_settings_that_mean_nothing(key, value):
    with pytest.raises(ValidationError, match=rf"task\.{key}"):
        small_students.recipe(task={**small_students.TASK, key: value})


def test_the_recipe_has_no_problem():
    root = Path(__file__).resolve().parents[4]
    from pipelines.recipe.load import load as load_recipe

    assert not list(problems(load_recipe("smollm2-distilled", root)))
