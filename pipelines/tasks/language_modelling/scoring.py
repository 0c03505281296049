"""Negative log-likelihood of every token of a split under a model.

`score` takes any function from token ids to logits, so that the checkpoint and the exported graphs are scored alike.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from base.progress import Progress
from data.text.shards import Shards
from pipelines.tasks.interface import Logits
from pipelines.tasks.language_modelling.windows import Window, batches, cut, tokens_of

Item = TypeVar("Item")
Result = TypeVar("Result")


def split_windows(shards: Shards, context: int, stride: float, limit: int | None = None) -> list[Window]:
    """Windows over a split, or some, spread over it, that score about `limit` tokens. `stride`: part of `context`."""
    windows = cut(np.asarray(shards.offsets), context, max(1, round(stride * context)), len(shards.first))
    if limit is None or limit >= shards.total_tokens:
        return windows
    count = max(1, len(windows) * limit // shards.total_tokens)
    return [windows[len(windows) * index // count] for index in range(count)]


def score(
    logits_of: Logits,
    shards: Shards,
    windows: list[Window],
    batch_tokens: int,
    progress: Progress | None = None,
    workers: int = 1,
) -> NDArray[np.float32]:
    """Nats of every token of the split, float32 [total_tokens]; NaN where no window scores a token.

    `workers`: batches that are computed at once, each by one thread of PyTorch. That needs no barriers between threads
    as one batch on many would, and the result does not depend on their number.
    """
    nats = np.full(shards.total_tokens, np.nan, dtype=np.float32)
    begins = frozenset(np.asarray(shards.offsets).tolist())

    def losses(batch: list[Window]) -> tuple[list[Window], NDArray[np.float32]]:
        with torch.inference_mode():
            inputs, targets = (torch.from_numpy(part) for part in tokens_of(batch, shards, begins))
            logits = logits_of(inputs).float()
            loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
            return batch, loss.view(targets.shape).numpy()

    for batch, loss in spread(losses, batches(windows, batch_tokens), workers):
        for row, window in enumerate(batch):
            scored = window.last - window.first
            nats[window.first : window.last] = loss[row, window.length - scored : window.length]
        if progress is not None:
            progress.update(advance=sum(window.last - window.first for window in batch))
    return nats


def spread(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """`map` over threads with one PyTorch thread each; 1: in this thread, with as many as PyTorch takes."""
    if workers == 1:
        yield from map(function, items)
        return
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            yield from pool.map(function, items)
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)  # part of the setting is the whole process's
