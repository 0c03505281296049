"""Pairs of answers as batches: log-probabilities, losses and gradients are those of plain code on each chat alone."""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from base.errors import MetrolineError
from data.text.tokenizer import Tokenizer
from models.adapters import Form, attach
from pipelines.tasks.preference.learner import Preferences
from pipelines.tasks.preference.rows import inputs_of, parts_of
from tests.pipelines.tasks.preference import small_pairs

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return small_pairs.prepared(tmp_path_factory.mktemp("line"))


def learner(paths, folder, **sections):
    made = Preferences(small_pairs.recipe(**sections), paths.prepared, paths.pretrained)
    network = made.network(torch.Generator())
    objective = made.objective(network)
    made.begin(objective, folder, CPU)
    return made, network, objective


def batch(made, examples):
    return made.batch(np.zeros(len(examples), np.int64), np.array(examples), made.config.sequence, CPU)


def plainly(network, shards, chat):
    """The log-probability of a chat's answer, and its tokens: no packing, no kernel."""
    tokens = torch.from_numpy(shards.document(chat))
    learnt = torch.from_numpy(shards.mask_at(int(shards.offsets[chat]), len(tokens)))[1:]
    losses = F.cross_entropy(network(tokens[None, :-1])[0], tokens[1:], reduction="none")
    return -losses[learnt].sum(), int(learnt.sum())


def test_neighbours_are_the_answers_to_one_prompt(paths):
    made = Preferences(small_pairs.recipe(), paths.prepared, paths.pretrained)
    tokenizer = Tokenizer.load(paths.prepared / "tokenizer.json")
    for pair in range(made.examples):
        chosen, rejected = (tokenizer.decode(made.train.document(2 * pair + n).tolist()) for n in (0, 1))
        assert ", please" in chosen
        assert "go: " in rejected
        assert chosen.split("assistant")[0] == rejected.split("assistant")[0]


def test_the_reference_is_each_answers_log_probability(paths, tmp_path):
    made, network, _ = learner(paths, tmp_path)
    with torch.no_grad():
        for pair in (0, 3, made.examples - 1):
            for side in (0, 1):
                wanted, _ = plainly(network, made.train, 2 * pair + side)
                assert float(made.reference["train"][pair, side]) == pytest.approx(float(wanted), rel=1e-5)
    assert len(made.reference["valid"]) == len(made.valid) // 2 > 0


@pytest.mark.parametrize(("loss", "smoothing"), [("sigmoid", 0.0), ("sigmoid", 0.2), ("ipo", 0.0)])
def test_loss_and_gradient_are_those_of_plain_code(loss, smoothing, paths, tmp_path):
    """Pairs share rows, the head runs twice, and yet the gradient is that of the loss, to each adapter."""
    task, train = {"kind": "preference", "loss": loss, "beta": 0.3}, {**small_pairs.TRAIN, "label_smoothing": smoothing}
    made, network, objective = learner(paths, tmp_path, task=task, train=train)
    attach(network, Form(4, 8.0), ["*"], torch.Generator().manual_seed(3), made.outer)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "lora_b" in name:
                weight.copy_(0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(4)))
    examples = [5, 0, 9, 5]  # one of them twice, as where an epoch ends
    found = objective.train()(**batch(made, examples).inputs, seed=torch.tensor(0))
    found.backward()
    gradients = {name: weight.grad for name, weight in network.named_parameters() if weight.requires_grad}
    network.zero_grad()

    wanted, margins = torch.zeros(()), []
    for pair in examples:
        (chosen, n), (rejected, m) = (plainly(network, made.train, 2 * pair + side) for side in (0, 1))
        first = made.reference["train"][pair]
        if loss == "ipo":
            apart = (chosen - first[0]) / n - (rejected - first[1]) / m
            wanted = wanted + (apart - 1 / (2 * 0.3)) ** 2
        else:
            apart = (chosen - first[0]) - (rejected - first[1])
            wanted = wanted - (1 - smoothing) * F.logsigmoid(0.3 * apart) - smoothing * F.logsigmoid(-0.3 * apart)
        margins.append(0.3 * apart.item())
    wanted.backward()
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
    for name, weight in network.named_parameters():
        if weight.requires_grad:
            torch.testing.assert_close(gradients[name], weight.grad, rtol=2e-3, atol=1e-5)
    noted = objective.noted()
    assert noted["margin"] == pytest.approx(sum(margins), rel=1e-4)
    assert noted["accuracy"] == sum(margin > 0 for margin in margins)
    assert objective.noted() == {}


def test_answers_that_share_their_prompt_are_as_likely_as_alone(paths):
    """One document for both, or one for each: fewer tokens, the same log-probabilities, and none sees the other."""
    made = Preferences(small_pairs.recipe(), paths.prepared, paths.pretrained)
    objective = made.objective(made.network(torch.Generator())).eval()
    shared, alone = (inputs_of(made.train, [3, 1, 7, 7, 2], 128, CPU, share=share) for share in (True, False))
    documents = [parts_of(made.train, 3, 0, share=share) for share in (True, False)]
    fewer, more = (sum(len(part.learnt) for document in each for part in document) for each in documents)
    assert fewer < 0.8 * more
    found = objective.log_probabilities(**shared)
    torch.testing.assert_close(found, objective.log_probabilities(**alone), rtol=1e-5, atol=1e-4)
    assert torch.equal(found[2], found[3])
    chosen = shared["answers"] == 0
    shared["tokens"][chosen] = 77  # another chosen answer leaves the rejected one as it was
    again = objective.log_probabilities(**shared)
    assert again[0, 0] != found[0, 0]
    assert again[0, 1] == found[0, 1]


@pytest.mark.parametrize("loss", ["sigmoid", "ipo"])
def test_training_begins_with_no_margin(loss, paths, tmp_path):
    made, _, objective = learner(paths, tmp_path, task={"kind": "preference", "loss": loss})
    with torch.no_grad():
        mean = float(objective.eval()(**batch(made, range(8)).inputs)) / 8
    assert mean == pytest.approx(math.log(2) if loss == "sigmoid" else 25, abs=1e-5)
    assert abs(objective.noted()["margin"]) < 1e-5


def test_the_reference_is_computed_once(paths, tmp_path, monkeypatch):
    first, _, _ = learner(paths, tmp_path)
    monkeypatch.setattr(Preferences, "_compute", lambda *_: pytest.fail("computed again"))
    again, _, _ = learner(paths, tmp_path)
    assert again.seal == first.seal
    assert torch.equal(again.reference["train"], first.reference["train"])


def test_a_reference_of_other_weights_or_damaged_is_computed_anew(paths, tmp_path):
    first, _, _ = learner(paths, tmp_path)
    file = tmp_path / "reference.safetensors"
    whole = file.read_bytes()
    for damaged in (whole[:-2] + b"\0\x41", b"", whole[: len(whole) // 2]):
        file.write_bytes(damaged)
        again, _, _ = learner(paths, tmp_path)
        assert file.read_bytes() == whole
        assert again.seal == first.seal
    made = Preferences(small_pairs.recipe(), paths.prepared, paths.pretrained)
    network = made.network(torch.Generator())
    with torch.no_grad():
        network.norm.weight.mul_(1.5)
    made.begin(made.objective(network), tmp_path, CPU)
    assert made.seal != first.seal


def test_training_stops_when_it_does_not_begin_at_the_reference(paths, tmp_path, monkeypatch):
    learner(paths, tmp_path)
    made = Preferences(small_pairs.recipe(), paths.prepared, paths.pretrained)
    objective = made.objective(made.network(torch.Generator()))
    others = torch.full((99, 2), -3.0).cumsum(1)
    monkeypatch.setattr(made, "_compute", lambda *_: {"train": others, "valid": others.clone()})
    with pytest.raises(MetrolineError, match=r"does not begin at the reference: .* instead of 0\.6931472"):
        made.begin(objective, tmp_path / "other", CPU)


@pytest.mark.parametrize(("train", "message"), [
    ({"sequence": 32, "batch": 1}, r"more than train\.sequence \(32\)"),
    ({"batch": 500}, "pairs, less than one batch of 500"),
    ({"sequence": 256}, r"longer than the weights' context \(128\)"),
])  # fmt: skip
def test_what_does_not_fit(train, message, paths, tmp_path):
    with pytest.raises(MetrolineError, match=message):
        learner(paths, tmp_path, train={**small_pairs.TRAIN, **train})


def test_weights_with_dropout_are_refused(tmp_path):
    paths = small_pairs.prepared(tmp_path)
    config = paths.pretrained / "files/config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "resid_pdrop": 0.1}))
    with pytest.raises(MetrolineError, match="the first weights have dropout"):
        Preferences(small_pairs.recipe(), paths.prepared, paths.pretrained)
