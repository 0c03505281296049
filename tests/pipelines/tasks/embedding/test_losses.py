"""The losses of embeddings against their formulas, and gradients that do not depend on how a batch is cut."""

import math

import pytest
import torch
from torch import nn

from pipelines.tasks.embedding.losses import SCALE, contrastive, cosent
from pipelines.tasks.embedding.objective import Objective


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(one @ other / (one.norm() * other.norm()))


def test_contrastive_is_the_formula() -> None:
    """Document 2 answers query 0 too, so it does not stand against it."""
    queries, documents = draw(3, 6), draw(5, 6, seed=1)
    counted = torch.ones(3, 5, dtype=torch.bool)
    counted[0, 2] = False
    wanted = 0.0
    for size in (4, 6):
        for row in range(3):
            alike = [SCALE * cosine(queries[row, :size], documents[column, :size]) for column in range(5)]
            total = sum(math.exp(alike[column]) for column in range(5) if counted[row, column])
            wanted += math.log(total) - alike[row]
    assert float(contrastive(queries, documents, counted, (4, 6))) == pytest.approx(wanted / 2, rel=1e-5)


def test_cosent_is_the_formula() -> None:
    first, second, scores = draw(4, 6), draw(4, 6, seed=1), torch.tensor([3.0, 1.0, 1.0, 5.0])
    cosines = [SCALE * cosine(first[i], second[i]) for i in range(4)]
    pairs = [(i, j) for i in range(4) for j in range(4) if scores[i] > scores[j]]
    assert len(pairs) == 5
    wanted = 4 * math.log(1 + sum(math.exp(cosines[j] - cosines[i]) for i, j in pairs))
    assert float(cosent(first, second, scores, (6,))) == pytest.approx(wanted, rel=1e-5)
    assert float(cosent(first, second, torch.ones(4), (6,))) == 0


class Embed(nn.Module):
    """A small embedder with dropout by its seed."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 8)
        with torch.no_grad():
            self.table.weight.copy_(draw(20, 8, seed=2))
        self.calls: list[int] = []

    def forward(self, tokens: torch.Tensor, seed: torch.Tensor | None = None) -> torch.Tensor:
        self.calls.append(len(tokens))
        there = (tokens != 0).unsqueeze(2)
        x = (self.table(tokens) * there).sum(1) / there.sum(1)
        if seed is not None:
            x = x * (torch.rand(x.shape, generator=torch.Generator().manual_seed(int(seed))) > 0.2)
        return torch.tanh(x)


@pytest.mark.parametrize("scored", [False, True])
def test_a_batch_in_chunks_has_the_gradient_of_the_whole(scored: bool) -> None:
    tokens = torch.tensor([[1, 2, 3], [4, 0, 0], [5, 6, 0], [7, 8, 9], [10, 0, 0]])
    given = {"scores": torch.tensor([1.0, 2.0, 3.0, 1.0, 5.0])} if scored else {
        "counted": torch.ones(5, 5, dtype=torch.bool)}  # fmt: skip
    found = []
    for chunk in (0, 2):
        network = Embed()
        loss = Objective(network, chunk, (4, 8)).eval()(tokens, tokens.flip(1).sort(1, descending=True).values, **given)  # type: ignore[arg-type]
        loss.backward()
        found.append((float(loss.detach()), network.table.weight.grad.clone(), network.calls))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-5, atol=1e-6)
    assert found[0][2] == [5, 5]
    assert sorted(found[1][2]) == sorted([2, 2, 1] * 4)  # each of two sides, once forth and once back


def test_dropout_is_the_same_in_both_passes_and_a_function_of_the_seed() -> None:
    tokens = torch.tensor([[1, 2], [3, 4], [5, 6], [7, 8]])
    counted = torch.ones(4, 4, dtype=torch.bool)
    grads = []
    for seed in (3, 3, 4):
        network = Embed()
        Objective(network, 2, (8,)).train()(tokens, tokens, counted, seed=torch.tensor(seed)).backward()  # type: ignore[arg-type]
        grads.append(network.table.weight.grad)
    assert torch.equal(grads[0], grads[1])
    assert not torch.equal(grads[0], grads[2])
