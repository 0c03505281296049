"""What a batch of chats holds: answers as targets and no others, and chats that do not see each other."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from base.errors import MetrolineError
from data.text.tokenizer import Tokenizer
from kernels.cross_entropy.linear_cross_entropy import IGNORE
from pipelines.tasks.instruction.learner import Instruction
from pipelines.tasks.instruction.rows import inputs, rows_of
from tests.chats import rows
from tests.pipelines.tasks.instruction import small_chats

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return small_chats.prepared(tmp_path_factory.mktemp("line"))


def learner(paths, **sections):
    made = Instruction(small_chats.recipe(**sections), paths.prepared, paths.pretrained)
    network = made.network(torch.Generator())
    return made, network, made.objective(network)


def batch(made, examples):
    return made.batch(np.zeros(len(examples), np.int64), np.array(examples), made.config.sequence, CPU)


@pytest.mark.parametrize("pack", [True, False])
def test_targets_are_the_answers_and_their_ends(pack, paths):
    made, _, _ = learner(paths, task={"kind": "instruction", "pack": pack})
    tokenizer = Tokenizer.load(paths.prepared / "tokenizer.json")
    found = batch(made, range(4))
    targets = found.inputs["targets"]
    assert found.targets == int((targets != IGNORE).sum())
    learnt = [token for token in targets.flatten().tolist() if token != IGNORE]
    chats = [chat for row in made.rows[:4] for chat in row]
    given = {row["output"] for row in rows()}
    ends = [at for at, token in enumerate(learnt) if token == 258]
    answers = [tokenizer.decode(learnt[begin + 1 : end]) for begin, end in pairwise([-1, *ends])]
    assert len(answers) == len(chats)
    assert set(answers) <= given


def test_the_loss_of_a_row_is_the_sum_of_its_chats_alone(paths):
    made, network, objective = learner(paths)
    found = batch(made, [0, 1, 2])
    chats = [chat for row in made.rows[:3] for chat in row]
    assert len(chats) == 6
    with torch.no_grad():
        together = objective.eval()(**found.inputs)
        alone = []
        for chat in chats:
            one = rows_of(made.train, [[chat]], made.config.sequence, CPU)
            length = int(inputs(made.train)[chat])
            logits = network(one.tokens[:, :length])[0]
            alone.append(F.cross_entropy(logits, one.targets[0, :length], reduction="sum", ignore_index=IGNORE))
    assert together.item() == pytest.approx(sum(map(float, alone)), rel=1e-5)


def test_padding_changes_nothing_and_gets_no_gradient(paths):
    """Other tokens in the padding, the same loss and the same gradients."""
    made, network, objective = learner(paths)
    found = batch(made, [made.examples - 1])
    padding = torch.from_numpy(rows_of(made.train, [made.rows[-1]], made.config.sequence, CPU).chats == -1)
    assert padding.any()
    losses, gradients = [], []
    for token in (0, 77):
        found.inputs["tokens"][padding] = token
        network.zero_grad()
        loss = objective(**found.inputs)
        loss.backward()
        losses.append(loss.item())
        gradients.append(network.layers[0].mlp.up_proj.weight.grad.clone())
    assert losses[0] == losses[1]
    assert torch.equal(*gradients)


def test_validation_takes_every_answer_once(paths):
    made, _, _ = learner(paths)
    targets = sum(batch.targets for batch in made.validation(CPU))
    assert targets == made.valid.entry["targets"] > 0


def test_rows_are_the_same_when_they_are_asked_for_again(paths):
    made, _, _ = learner(paths)
    other, _, _ = learner(paths)
    assert made.rows == other.rows
    assert torch.equal(batch(made, [2]).inputs["tokens"], batch(other, [2]).inputs["tokens"])


@pytest.mark.parametrize(("train", "message"), [
    ({"sequence": 32, "batch": 1}, r"more than train\.sequence \(32\)"),
    ({"sequence": 128, "batch": 500}, "less than one batch of 500"),
    ({"sequence": 256, "batch": 1}, r"longer than the weights' context \(128\)"),
])  # fmt: skip
def test_sequences_that_do_not_fit(train, message, paths):
    with pytest.raises(MetrolineError, match=message):
        learner(paths, train={**small_chats.TRAIN, **train})
