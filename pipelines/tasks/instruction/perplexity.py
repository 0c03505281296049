"""How strange the answers of chats are to the first weights, to leave the strangest out when data is prepared."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from base.errors import MetrolineError
from data.text.chat_tokens import Encoded
from kernels import linear_cross_entropy
from kernels.cross_entropy.linear_cross_entropy import IGNORE
from pipelines.tasks.language_modelling.imported import imported


def scorer(first: Path) -> Callable[[Sequence[Encoded]], list[float]]:
    """A function of chats: nats a learnt token of each, in float32, under the weights in the folder `first`.

    Raises MetrolineError: no such weights; the function: a chat beyond their context.
    """
    model = imported(first, 0).eval()

    @torch.inference_mode()
    def nats(chats: Sequence[Encoded]) -> list[float]:
        found = []
        for chat in chats:
            if len(chat.tokens) - 1 > model.config.context:
                raise MetrolineError(
                    f"a chat of {len(chat.tokens):,} tokens is longer than the weights' context",
                    hint="leave long chats out with a smaller data.length",
                )
            tokens = torch.from_numpy(chat.tokens.astype(np.int64))
            targets = torch.where(torch.from_numpy(chat.mask[1:].astype(bool)), tokens[1:], IGNORE)
            features = model.features(tokens[None, :-1])
            found.append(float(linear_cross_entropy(features, model.head_weight, targets[None])))
        return found

    return nats
