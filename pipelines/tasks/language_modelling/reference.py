"""What drift is judged by later: how well the model predicts prompts that look like the test split.

The endpoint scores each prompt by itself, so the reference does too: stretches of `reference_tokens` tokens of test
documents, alone, without what came before. Its mean and standard deviation are over such prompts, not over tokens.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from base.errors import MetrolineError
from data.text.shards import Shards
from pipelines.tasks.interface import Logits


def stretches(test: Shards, length: int, most: int) -> list[tuple[int, int, int]]:
    """(document, start, tokens) of at most `most` prompts, spread evenly; each of 2 tokens or more of one document.

    They are of text alone, without the tokens that come before every text.
    """
    given = len(test.first)
    offsets = np.asarray(test.offsets).tolist()
    found = [
        (document, start, min(length, end - 1 - start))  # end - 1: end-of-text is never in a prompt
        for document, (begin, end) in enumerate(pairwise(offsets))
        for start in range(begin + given, end - 2, length)
    ]
    return [found[len(found) * index // most] for index in range(most)] if len(found) > most else found


@torch.inference_mode()
def reference(
    logits_of: Logits,
    test: Shards,
    prompts: Sequence[tuple[int, int, int]],
    *,
    length: int,
    batch_tokens: int,
    names: list[str] | None,
) -> dict[str, Any]:
    """{"loss_mean", "loss_std", "prompts", "tokens", "groups"}, in nats per token, of prompts (document, start, tokens)
    of at most `length` tokens. `names`: the documents' groups."""
    if len(prompts) < 2:
        raise MetrolineError("evaluate: the test split is too small to say what prompts look like")
    rows = max(1, batch_tokens // length)
    losses: list[float] = []
    for first in range(0, len(prompts), rows):
        batch = prompts[first : first + rows]
        tokens = torch.full((len(batch), length), test.eos)
        targets = torch.full((len(batch), length), -100)
        for row, (_, start, count) in enumerate(batch):
            prompt = np.array([*test.first, *test.tokens_at(start, count)], dtype=np.int64)[:length]
            tokens[row, : len(prompt)] = torch.from_numpy(prompt)
            targets[row, : len(prompt) - 1] = tokens[row, 1 : len(prompt)]
        logits = logits_of(tokens).float()
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape)
        losses += (loss.double().sum(1) / (targets != -100).sum(1)).tolist()
    result: dict[str, Any] = {
        "loss_mean": float(np.mean(losses)),
        "loss_std": float(np.std(losses)),
        "prompts": len(prompts),
        "tokens": length,
        "groups": {},
    }
    if names is not None:
        groups = np.array([names[document] for document, _, _ in prompts])
        for name in sorted(set(groups.tolist())):
            inside = np.array(losses)[groups == name]
            result["groups"][name] = {"loss_mean": float(inside.mean()), "loss_std": float(inside.std())}
    return result
