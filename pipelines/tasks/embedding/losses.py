"""What embeddings learn by, as sums over a batch.

`contrastive`: which of the batch's documents is the query's? Cross-entropy over cosines (InfoNCE, van den Oord et al.
2018; multiple negatives ranking, Henderson et al. 2017). `cosent`: pairs that people found more alike must have the
larger cosine (CoSENT, Su 2022). Both can be asked of several first dimensions at once (Matryoshka, Kusupati et al.
2022, arXiv:2205.13147).
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

SCALE = 20.0
"""What cosines are multiplied by."""


def contrastive(queries: Tensor, documents: Tensor, counted: Tensor, dimensions: Sequence[int]) -> Tensor:
    """float32 [B, W] and [N, W], of which document i answers query i → the sum over queries, mean over `dimensions`.
    `counted`: bool [B, N], where a document stands against a query: not where it answers it too."""
    answers = torch.arange(len(queries), device=queries.device)
    parts = []
    for size in dimensions:
        alike = SCALE * _cut(queries, size) @ _cut(documents, size).T
        parts.append(functional.cross_entropy(alike.masked_fill(~counted, -torch.inf), answers, reduction="sum"))
    return torch.stack(parts).mean()


def cosent(first: Tensor, second: Tensor, scores: Tensor, dimensions: Sequence[int]) -> Tensor:
    """float32 [B, W] twice, and how alike people found each pair [B] → log(1 + Σ exp(cos of less - cos of more)) over
    all two pairs whose scores differ, times B, mean over `dimensions`."""
    more = scores[:, None] > scores[None]  # [B, B]: row's pair is more alike than column's
    parts = []
    for size in dimensions:
        cosine = SCALE * (_cut(first, size) * _cut(second, size)).sum(1)
        gaps = (cosine[None] - cosine[:, None]).masked_fill(~more, -torch.inf).flatten()
        parts.append(torch.logsumexp(torch.cat([gaps.new_zeros(1), gaps]), 0) * len(scores))
    return torch.stack(parts).mean()


def _cut(vectors: Tensor, size: int) -> Tensor:
    """The first numbers of each vector, of length 1."""
    return functional.normalize(vectors[:, :size].float(), dim=1)
