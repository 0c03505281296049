"""Is it better than the weights it began with? Losses of both on the same chats, and how sure the difference is.

The interval is a paired bootstrap (Efron and Tibshirani 1993, chapter 13; for test sets: Koehn 2004, "Statistical
significance tests for machine translation evaluation"): chats are drawn with replacement, each with both losses.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from base.progress import Progress
from data.text.shards import Shards
from kernels import linear_cross_entropy
from models.decoder.model import Decoder
from pipelines.tasks.instruction.rows import rows_of

CHUNK = 1 << 22  # numbers drawn at once


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


def interval(
    base: NDArray[np.float64],
    tuned: NDArray[np.float64],
    targets: NDArray[np.int64],
    *,
    resamples: int,
    confidence: float,
    seed: int,
) -> tuple[float, float]:
    """(low, high) of the gain: the base's mean nats a target less the tuned model's. All arrays are [chats]."""
    generator = np.random.Generator(np.random.Philox(key=[seed, len(base)]))
    saved, gains = base - tuned, list[NDArray[np.float64]]()
    step = max(1, CHUNK // len(base))
    for at in range(0, resamples, step):
        drawn = generator.integers(0, len(base), (min(step, resamples - at), len(base)))
        gains.append(saved[drawn].sum(1) / targets[drawn].sum(1))
    low, high = np.quantile(np.concatenate(gains), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
