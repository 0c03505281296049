"""From tokens to a loss, with batches that are larger than memory."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pipelines.tasks.embedding.imported import Embedder
from pipelines.tasks.embedding.losses import contrastive, cosent


class Objective(nn.Module):
    """Two sides of texts → the sum of a batch's losses, float32 [].

    Vectors are made `chunk` texts at a time, and again in the backward pass: memory holds one chunk's activations,
    while all vectors stand against each other, and the gradient is that of the whole batch (GradCache, Gao et al. 2021,
    arXiv:2101.06983). Dropout's numbers are functions of the seed, so both passes have the same."""

    def __init__(self, network: Embedder, chunk: int, dimensions: Sequence[int]) -> None:
        """`chunk`: 0: all texts at once."""
        super().__init__()
        self.network, self.chunk, self.dimensions = network, chunk, tuple(dimensions)

    def forward(
        self, first: Tensor, second: Tensor, counted: Tensor | None = None, scores: Tensor | None = None,
        seed: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Tokens [B, S] and [N, T]; `counted` [B, N] for documents that answer queries, `scores` [B] for pairs."""
        seeds = (seed, seed + 1) if self.training and seed is not None else (None, None)
        one, other = self._vectors(first, seeds[0]), self._vectors(second, seeds[1])
        if scores is not None:
            return cosent(one, other, scores, self.dimensions)
        assert counted is not None
        return contrastive(one, other, counted, self.dimensions)

    def _vectors(self, tokens: Tensor, seed: Tensor | None) -> Tensor:
        if not self.chunk or len(tokens) <= self.chunk:
            return self.network(tokens, seed)
        parts = []
        for number, part in enumerate(tokens.split(self.chunk)):
            part = part[:, : int((part != 0).sum(1).max())]
            own = None if seed is None else seed + 1000 * (1 + number)
            if torch.is_grad_enabled():
                parts.append(checkpoint(self.network, part, own, use_reentrant=False, preserve_rng_state=False))
            else:
                parts.append(self.network(part, own))
        return torch.cat(parts)
