"""The language modelling task: which tokens a batch holds, what its loss is."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from data.text.shards import Shards
from pipelines.paths import Paths
from pipelines.tasks.language_modelling.learner import LanguageModelling, borders
from tests.pipelines.training import small_runs

CPU = torch.device("cpu")


@pytest.fixture
def paths(tmp_path):
    paths = Paths("mini", tmp_path)
    small_runs.prepare(paths.prepared)
    return paths


def make(paths, model=None, **train):
    task = LanguageModelling(small_runs.recipe(model, **train), paths.prepared)
    network = task.network(torch.Generator().manual_seed(0))
    return task, network, task.objective(network)


def test_a_window_is_followed_by_its_targets(paths):
    task, _, _ = make(paths)
    row = Shards(paths.prepared, "train").tokens_at(0, task.train.total_tokens)
    batch = task.batch(np.array([0, 0]), np.array([3, 1]), 16, CPU)
    assert batch.inputs["tokens"].tolist() == [row[48:64].tolist(), row[16:32].tolist()]
    assert batch.inputs["targets"].tolist() == [row[49:65].tolist(), row[17:33].tolist()]
    assert batch.targets == 32
    halves = task.batch(np.array([0]), np.array([3]), 8, CPU)
    assert halves.inputs["tokens"].tolist() == [row[48:56].tolist(), row[56:64].tolist()]


def test_every_window_of_every_epoch_lies_in_the_split(paths):
    task, _, _ = make(paths)
    everything = np.arange(task.examples)
    for epoch in range(30):
        starts = task.starts(np.full(task.examples, epoch), everything)
        assert min(starts) >= 0
        assert max(starts) + 17 <= task.train.total_tokens
    assert task.starts(np.array([0]), np.array([0])) == [0]
    assert len({task.starts(np.array([epoch]), np.array([0]))[0] for epoch in range(30)}) > 5


def test_validation_takes_every_token_but_the_first_once(paths):
    task, _, _ = make(paths)
    seen = [batch.inputs["targets"].flatten() for batch in task.validation(CPU)]
    row = task.valid.tokens_at(0, task.valid.total_tokens)
    assert torch.cat(seen).tolist() == row[1:].tolist()


def test_loss_is_the_sum_of_cross_entropies(paths):
    task, network, objective = make(paths)
    batch = task.batch(np.array([0, 0]), np.array([0, 1]), 16, CPU)
    logits = network(batch.inputs["tokens"])
    expected = F.cross_entropy(logits.flatten(0, 1), batch.inputs["targets"].flatten(), reduction="sum")
    torch.testing.assert_close(objective(**batch.inputs), expected, atol=1e-3, rtol=1e-5)


def test_label_smoothing_only_when_training(paths):
    task, network, objective = make(paths, label_smoothing=0.3)
    batch = task.batch(np.array([0]), np.array([0]), 16, CPU)
    logits, targets = network(batch.inputs["tokens"]).flatten(0, 1), batch.inputs["targets"].flatten()
    smooth = F.cross_entropy(logits, targets, reduction="sum", label_smoothing=0.3)
    torch.testing.assert_close(objective.train()(**batch.inputs), smooth, atol=1e-3, rtol=1e-5)
    plain = F.cross_entropy(logits, targets, reduction="sum")
    torch.testing.assert_close(objective.eval()(**batch.inputs), plain, atol=1e-3, rtol=1e-5)


def test_borders_begin_documents_with_the_end_before_them():
    tokens = np.array([[5, 6, 0, 7], [8, 0, 0, 9]])
    assert borders(tokens, 0).tolist() == [0, 2, 4, 5, 6, 8]
    assert borders(np.array([[0, 1]]), 0).tolist() == [0, 2]


def test_isolated_documents_do_not_see_each_other(paths):
    task, _, objective = make(paths, isolate_documents=True)
    batch = task.batch(np.arange(4) * 0, np.arange(4), 16, CPU)
    assert len(batch.inputs["cu_seqlens"]) > 6  # so documents do begin within rows
    tokens = batch.inputs["tokens"]
    row, column = next((r, c) for r, c in (tokens == 0).nonzero().tolist() if 4 < c < 12)
    other = {**batch.inputs, "tokens": tokens.clone()}
    other["tokens"][row, :column] = 1 + tokens[row, :column] % 19  # another document before the border
    own = {"tokens": tokens[row : row + 1], "targets": batch.inputs["targets"][row : row + 1].clone()}
    features = [
        objective.model.features(each["tokens"], cu_seqlens=each["cu_seqlens"])[row, column:]
        for each in (batch.inputs, other)
    ]
    torch.testing.assert_close(features[0], features[1])
    alone = objective.model.features(own["tokens"][:, column:])[0]
    crossing = objective.model.features(own["tokens"])[0, column:]
    until = next((i for i in range(1, len(alone)) if own["tokens"][0, column + i] == 0), len(alone))
    torch.testing.assert_close(features[0][:until], alone[:until], atol=1e-5, rtol=1e-4)
    assert (crossing[:until] - alone[:until]).abs().max() > 1e-3  # without isolation they do
