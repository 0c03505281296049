"""What a model answers by itself: greedy, several chats at once, until a token that ends an answer or a limit."""

from collections.abc import Collection, Sequence

import numpy as np
import torch

from base.progress import Progress
from data.text.shards import Shards
from models.decoder.model import Decoder


def prompts(shards: Shards, most: int) -> tuple[list[list[int]], list[list[int]]]:
    """(prompt, answer with its end) of at most `most` chats, spread over the split: their last answers."""
    count = min(most, len(shards))
    asked, given = [], []
    for number in (len(shards) * index // count for index in range(count)):
        tokens = shards.document(number)
        mask = shards.mask_at(int(shards.offsets[number]), len(tokens))
        begin = int(np.flatnonzero(~mask)[-1]) + 1
        asked.append(tokens[:begin].tolist())
        given.append(tokens[begin:].tolist())
    return asked, given


def greedy(
    model: Decoder, asked: Sequence[Sequence[int]], ends: Collection[int], *, limit: int, batch: int,
    progress: Progress,
) -> list[list[int]]:  # fmt: skip
    """The answer to each prompt: the likeliest token each time, up to and with one of `ends`; without any where
    `limit` tokens, or the model's context, came before it."""
    order = sorted(range(len(asked)), key=lambda place: len(asked[place]))
    answers: list[list[int]] = [[] for _ in asked]
    for at in range(0, len(order), batch):
        part = order[at : at + batch]
        for place, answer in zip(part, _together(model, [asked[place] for place in part], ends, limit), strict=True):
            answers[place] = answer
        progress.update(advance=len(part))
    return answers


@torch.inference_mode()
def _together(model: Decoder, asked: Sequence[Sequence[int]], ends: Collection[int], limit: int) -> list[list[int]]:
    lengths = torch.tensor([len(prompt) for prompt in asked])
    fresh = torch.zeros(len(asked), int(lengths.max()), dtype=torch.int64)
    for row, prompt in enumerate(asked):
        fresh[row, : len(prompt)] = torch.tensor(prompt)
    at = torch.arange(len(asked)) * fresh.shape[1] + lengths - 1  # each row's last token
    cache = model.empty_cache(len(asked))
    answers: list[list[int]] = [[] for _ in asked]
    going = [len(prompt) < model.config.context for prompt in asked]
    while any(going):
        logits, cache = model.forward_cached(fresh, cache, lengths, logits_at=at)
        chosen = logits.argmax(-1)
        for row, token in enumerate(chosen.tolist()):
            if going[row]:
                answers[row].append(token)
                room = len(asked[row]) + len(answers[row]) < model.config.context
                going[row] = token not in ends and len(answers[row]) < limit and room
        # A row that has ended stays in the batch and writes nothing: its last place is written again.
        lengths = torch.clamp(lengths + 1, max=model.config.context)
        fresh, at = chosen[:, None], torch.arange(len(asked))
    return answers
