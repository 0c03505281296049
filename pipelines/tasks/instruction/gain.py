"""Is it better than the weights it began with? Losses of both on the same chats, and their difference on some of them.

How sure the difference is, is for `pipelines.tasks.bootstrap` to say.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from base.progress import Progress
from data.text.shards import Shards
from kernels import linear_cross_entropy
from models.decoder.model import Decoder
from pipelines.tasks.bootstrap import Rows
from pipelines.tasks.instruction.rows import rows_of


@torch.inference_mode()
def chat_losses(
    model: Decoder, shards: Shards, rows: Sequence[Sequence[int]], sequence: int, batch: int, progress: Progress
) -> NDArray[np.float64]:
    """Nats of each chat's answers, float64 [chats]: their tokens' sum, ends included. `rows`: chats that share a
    sequence; `batch`: rows at once."""
    nats = np.zeros(len(shards), np.float64)
    for at in range(0, len(rows), batch):
        part = rows[at : at + batch]
        made = rows_of(shards, part, sequence, torch.device("cpu"))
        features = model.features(made.tokens, cu_seqlens=made.cu_seqlens)
        losses = linear_cross_entropy(features, model.head_weight, made.targets, reduction="none").double().numpy()
        counts = made.targets.numpy() >= 0
        np.add.at(nats, made.chats[counts], losses[counts])
        progress.update(advance=sum(map(len, part)))
    return nats


def gain(base: NDArray[np.float64], tuned: NDArray[np.float64], targets: NDArray[np.int64]) -> Callable[[Rows], float]:
    """Chats' numbers → the base's mean nats a target on them less the tuned model's. All arrays are [chats]."""
    saved = base - tuned
    return lambda rows: float(saved[rows].sum() / targets[rows].sum())
