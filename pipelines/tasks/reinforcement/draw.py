"""Answers drawn from a model, many at once, each with random numbers of its own: its neighbours do not change them.

The likeliest token plus Gumbel noise is a draw from the softmax (Gumbel 1954), so a row needs nothing but its noise.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from models.decoder.model import Decoder


class Drawn(NamedTuple):
    """An answer."""

    tokens: list[int]
    """Up to and with its end; without where the limit or the context came first."""
    log_p: list[float]
    """Of each token under the model."""


@torch.inference_mode()
def draw(
    model: Decoder, asked: Sequence[Sequence[int]], ends: Collection[int], *, limit: int,
    seeds: Sequence[int] | None, batch: int,
) -> list[Drawn]:  # fmt: skip
    """An answer of at most `limit` tokens to each prompt. `seeds`: one for each; None: the likeliest tokens."""
    found: list[Drawn] = []
    for at in range(0, len(asked), batch):
        part = slice(at, at + batch)
        found += _together(model, asked[part], ends, limit, None if seeds is None else seeds[part])
    return found


def _together(
    model: Decoder, asked: Sequence[Sequence[int]], ends: Collection[int], limit: int, seeds: Sequence[int] | None,
) -> list[Drawn]:  # fmt: skip
    device = model.embed_tokens.weight.device
    lengths = torch.tensor([len(prompt) for prompt in asked])
    fresh = torch.zeros(len(asked), int(lengths.max()), dtype=torch.int64)
    for row, prompt in enumerate(asked):
        fresh[row, : len(prompt)] = torch.tensor(prompt)
    at = torch.arange(len(asked)) * fresh.shape[1] + lengths - 1  # each row's last token
    generators = None if seeds is None else [torch.Generator().manual_seed(seed) for seed in seeds]
    cache, found = model.empty_cache(len(asked)), [Drawn([], []) for _ in asked]
    going = [len(prompt) < model.config.context for prompt in asked]
    while any(going):
        logits, cache = model.forward_cached(fresh.to(device), cache, lengths.to(device), logits_at=at.to(device))
        logits = logits.float().cpu()
        chosen = logits.argmax(-1) if generators is None else (logits + _noise(logits, generators)).argmax(-1)
        log_p = torch.log_softmax(logits, -1).gather(1, chosen[:, None])[:, 0].tolist()
        for row, token in enumerate(chosen.tolist()):
            if going[row]:
                found[row].tokens.append(token)
                found[row].log_p.append(log_p[row])
                room = len(asked[row]) + len(found[row].tokens) < model.config.context
                going[row] = token not in ends and len(found[row].tokens) < limit and room
        lengths = torch.clamp(lengths + 1, max=model.config.context)  # a row that has ended writes nothing
        fresh, at = chosen[:, None], torch.arange(len(asked))
    return found


def _noise(logits: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Gumbel's, [rows, V], each row from its own generator."""
    return torch.stack([-torch.empty(logits.shape[1]).exponential_(generator=each).log() for each in generators])
