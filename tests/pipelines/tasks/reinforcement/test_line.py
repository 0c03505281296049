"""A tiny decoder is taught by a reward to answer better than before; killed, it draws and learns the same."""

import json
import random
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from base.errors import MetrolineError
from base.files import read_json
from data.text.shards import Shards
from pipelines.evaluation import evaluate
from pipelines.exporting.stage import export
from pipelines.paths import Paths
from pipelines.recipe import gates, kinds
from pipelines.recipe.consistency import problems
from pipelines.recipe.load import load as load_recipe
from pipelines.tasks.language_modelling.imported import imported
from pipelines.tasks.reinforcement import prompts
from pipelines.tasks.reinforcement.draw import draw
from pipelines.tasks.reinforcement.learner import Rewarded, rows
from pipelines.training.stage import train
from tests.pipelines import small_line
from tests.pipelines.tasks.reinforcement import small_rewards
from tests.pipelines.training.small_runs import hashes, start

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """First weights and prompts, not trained."""
    return small_rewards.prepared(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def taught(prepared: Paths, tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """Trained, evaluated and exported."""
    paths = small_line.copy(prepared, tmp_path_factory.mktemp("taught") / "line")
    train(small_rewards.recipe(), paths)
    evaluate(small_rewards.recipe(), paths, paths.pretrained / "files")
    export(small_rewards.recipe(), paths)
    return paths


@pytest.fixture
def made(prepared: Paths) -> Rewarded:
    return Rewarded(small_rewards.recipe(task={**small_rewards.TASK, "kl": 0.1}), prepared.prepared,
                    prepared.pretrained / "files")  # fmt: skip


def test_prompts_end_where_the_recipe_says(made):
    for prompt in made.asked:
        assert re.fullmatch(r"\d+=", prompt.text)
        assert prompt.tokens[0] == prompt.given[-1] == made.train.eos
        assert made.tokenizer.decode(prompt.tokens) + made.tokenizer.decode(prompt.given) == prompt.text + prompt.answer


def test_an_answer_does_not_depend_on_its_neighbours(made):
    network = made.network(torch.Generator()).eval()
    asked, seeds = [each.tokens for each in made.asked[:12]], list(range(12))
    options = {"limit": 6, "batch": 64}
    together = draw(network, asked, {0}, seeds=seeds, **options)
    for row in (0, 5, 11):
        (alone,) = draw(network, asked[row : row + 1], {0}, seeds=seeds[row : row + 1], **options)
        assert alone.tokens == together[row].tokens
        np.testing.assert_allclose(alone.log_p, together[row].log_p, atol=1e-4)


def test_draws_are_as_often_as_they_are_likely(made):
    """Of one prompt's first token, 2,000 times."""
    network, asked = made.network(torch.Generator()).eval(), made.asked[0].tokens
    drawn = draw(network, [asked] * 2000, {0}, limit=1, seeds=list(range(2000)), batch=500)
    with torch.no_grad():
        p = torch.softmax(network(torch.tensor([asked]))[0, -1], -1)
    counts = torch.bincount(torch.tensor([each.tokens[0] for each in drawn]), minlength=len(p))
    assert float((counts / 2000 - p).abs().max()) < 0.04
    assert drawn[0].log_p[0] == pytest.approx(
        float(torch.log_softmax(network(torch.tensor([asked]))[0, -1], -1)[drawn[0].tokens[0]]), abs=1e-4
    )


def test_a_step_costs_what_plain_code_says(made):
    """Rewards, advantages, masks, and the gradient to each weight; the KL is 0 at the first weights."""
    network = made.network(torch.Generator())
    objective = made.objective(network).train()
    torch.manual_seed(3)
    batch = made.batch(np.zeros(5, np.int64), np.arange(5), 16, CPU)
    assert batch.targets == 30
    found = objective(**batch.inputs, seed=torch.tensor(0))
    found.backward()
    ours = [weight.grad.clone() for weight in network.parameters()]
    network.zero_grad()
    inputs = batch.inputs
    log_p = torch.log_softmax(network(inputs["tokens"]), -1)
    learnt = inputs["targets"] >= 0
    now = log_p.gather(2, inputs["targets"].clamp(min=0)[..., None])[..., 0]
    np.testing.assert_allclose(inputs["old"][learnt], now[learnt].detach(), atol=1e-4)
    np.testing.assert_allclose(inputs["reference"][learnt], now[learnt].detach(), atol=1e-4)
    ratio = (now - inputs["old"]).exp() * inputs["advantage"][:, None]
    wanted = -((ratio * learnt).sum(1) / learnt.sum(1)).sum()
    wanted.backward()
    assert found.item() == pytest.approx(wanted.item(), abs=1e-3)
    for mine, weight in zip(ours, network.parameters(), strict=True):
        torch.testing.assert_close(mine, weight.grad, rtol=1e-2, atol=1e-3)
    noted = objective.noted()
    assert noted["reward"] == float(inputs["reward"].sum())
    assert abs(noted["kl"]) < 1e-3


def test_the_validation_loss_is_that_of_the_given_answers(made):
    network = made.network(torch.Generator())
    objective = made.objective(network).eval()
    with torch.no_grad():
        found = sum(float(objective(**batch.inputs)) for batch in made.validation(CPU))
        wanted = 0.0
        for prompt in made.held_out:
            whole = torch.tensor([*prompt.tokens, *prompt.given])
            nats = F.cross_entropy(network(whole[None, :-1])[0], whole[1:], reduction="none")
            wanted += float(nats[-len(prompt.given) :].mean())
    assert found == pytest.approx(wanted, rel=1e-4)


def test_rows_hold_answers_behind_their_prompts():
    tokens, targets = rows([[7, 1], [7, 1, 2]], [[5, 0], [6, 8, 0]], 0)
    assert tokens.tolist() == [[7, 1, 5, 0, 0], [7, 1, 2, 6, 8]]
    assert targets.tolist() == [[-100, 5, 0, -100, -100], [-100, -100, 6, 8, 0]]


def test_the_reward_rises_on_prompts_it_has_not_seen(taught):
    metrics = read_json(taught.metrics)
    values = gates.measured(metrics, read_json(taught.bundle / "parity.json"))
    assert set(kinds.task("reinforcement").measured) <= set(values)
    gates.require([gates.floor(metrics), "test.gain_low > 0"], values)
    lines = [json.loads(line) for line in (taught.checkpoint / "curves.jsonl").read_text().splitlines()]
    assert lines[-1]["reward"] > lines[0]["reward"]
    assert max(line.get("valid_reward", 0) for line in lines) > metrics["baselines"]["base_reward"]
    card = (taught.bundle / "README.md").read_text()
    for number in (f"{metrics['test']['reward']:.4f}", f"{metrics['test']['gain']:+.4f}"):
        assert number in card


def test_what_is_measured_is_what_plain_code_finds(taught):
    metrics, made = read_json(taught.metrics), Rewarded(
        small_rewards.recipe(), taught.prepared, taught.pretrained / "files")  # fmt: skip
    base = imported(taught.pretrained / "files", made.train.vocab_size).eval()
    asked, right = prompts.read(Shards(taught.prepared, "test"), made.tokenizer, "="), 0
    for prompt in asked:
        tokens: list[int] = []
        while len(tokens) < 4 and tokens[-1:] != [0]:
            tokens.append(int(base(torch.tensor([[*prompt.tokens, *tokens]]))[0, -1].argmax()))
        right += tokens[-1:] == [0] and made.tokenizer.decode(tokens).strip() == "{}"
    assert metrics["baselines"]["base_reward"] == pytest.approx(right / len(asked))
    assert metrics["test"]["answers"] == len(asked)


def test_killed_by_sigkill_it_arrives_at_the_same_bytes(prepared, taught, tmp_path):
    paths = small_line.copy(prepared, tmp_path / "line")
    file = paths.root / "pipelines/recipes/adder.yaml"
    file.parent.mkdir(parents=True)
    written = {key: value for key, value in small_rewards.values(model={}).items() if key != "name"}
    file.write_text(json.dumps(written))  # JSON is YAML
    draws = random.Random(2)

    def reached() -> int:
        states = (paths.training / "states").glob("*/step-*.json")
        return max((int(state.stem.removeprefix("step-")) for state in states), default=0)

    for _ in range(2):
        process = start(paths.root, recipe="adder")
        before = reached()
        while process.poll() is None and reached() <= before:
            time.sleep(0.01)
        time.sleep(draws.random() / 5)
        process.kill()
        process.communicate()
    train(load_recipe("adder", paths.root), paths)
    assert hashes(paths.checkpoint)["model.safetensors"] == hashes(taught.checkpoint)["model.safetensors"]


PROBLEMS = [
    ({"pretrained": {}}, r"pretrained\.source: what answers nothing"),
    ({"train": {}}, r"train: a model that is not trained earns"),
    ({"split": {"valid": 0.0, "test": 0.2}}, r"split\.valid: a model is judged by its reward"),
    ({"train": {**small_rewards.TRAIN, "label_smoothing": 0.1}}, r"train\.label_smoothing: has no effect"),
    ({"train": {**small_rewards.TRAIN, "distributed": "fsdp"}}, r"train\.distributed: a sharded network"),
    ({"data": {**small_rewards.DATA, "tokenizer": {"kind": "bpe"}}}, r"data\.tokenizer\.kind: with pretrained\.source"),
]  # fmt: skip


@pytest.mark.parametrize(("sections", "message"), PROBLEMS)
def test_sections_that_contradict_each_other(sections, message):
    found = list(problems(small_rewards.recipe(**sections)))
    assert any(re.match(message, problem) for problem in found), found


@pytest.mark.parametrize(("values", "message"), [
    ({"reward": "arithmetics"}, "did you mean.*arithmetic"), ({"group": 1}, "group"), ({"clip": 0}, "clip"),
    ({"kl": -1}, "kl"), ({"prompt_end": ""}, "prompt_end"),
])  # fmt: skip
def test_settings_that_mean_nothing(values, message):
    with pytest.raises(ValidationError, match=message):
        small_rewards.recipe(task={**small_rewards.TASK, **values})


@pytest.mark.parametrize(("task", "train_section", "message"), [
    ({"prompt_end": "?"}, {}, r"train document 1 has no prompt that ends with '\?'"),
    ({"answer_tokens": 20}, {}, r"more than the weights' context \(16\)"),
    ({}, {"batch": 500}, "prompts, less than one batch of 500"),
])  # fmt: skip
def test_what_does_not_fit(task, train_section, message, prepared):
    recipe = small_rewards.recipe(task={**small_rewards.TASK, **task}, train={**small_rewards.TRAIN, **train_section})

    def begin() -> None:
        made = Rewarded(recipe, prepared.prepared, prepared.pretrained / "files")
        made.objective(made.network(torch.Generator()))

    with pytest.raises(MetrolineError, match=message):
        begin()


@pytest.mark.parametrize("name", ["sums", "sums-grpo"])
def test_the_recipes_have_no_problem(name):
    assert not list(problems(load_recipe(name, Path(__file__).resolve().parents[4])))
