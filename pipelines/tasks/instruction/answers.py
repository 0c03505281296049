"""What a model answers by itself: greedy, several chats at once, until a token that ends an answer or a limit."""

from collections.abc import Collection, Sequence

import numpy as np
import torch

from base.progress import Progress
from data.text.shards import Shards
from data.text.tokenizer import Tokenizer
from models.decoder.model import Decoder


def prompts(shards: Shards, most: int, each: int = 1) -> tuple[list[list[int]], list[list[int]]]:
    """(prompt, answer with its end) of at most `most` chats, spread over the split: their last answers. `each`: how
    many neighbours share a prompt, of which the first is taken."""
    asked, given = [], []
    for number in _spread(len(shards), most, each):
        tokens = shards.document(number)
        mask = shards.mask_at(int(shards.offsets[number]), len(tokens))
        begin = int(np.flatnonzero(~mask)[-1]) + 1
        asked.append(tokens[:begin].tolist())
        given.append(tokens[begin:].tolist())
    return asked, given


def _spread(chats: int, most: int, each: int) -> list[int]:
    count = min(most, chats // each)
    return [chats // each * index // count * each for index in range(count)]


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


def habits(said: list[list[int]], given: list[list[int]], ends: frozenset[int]) -> dict[str, float | int]:
    """How the generated answers end, and how long they are beside the given ones, in tokens without ends."""

    def mean(all_of: list[list[int]]) -> float:
        return sum(sum(token not in ends for token in answer) for answer in all_of) / len(all_of)

    return {
        "answers": len(said),
        "stop_rate": sum(bool(answer) and answer[-1] in ends for answer in said) / len(said),
        "exact_match": sum(one == other for one, other in zip(said, given, strict=True)) / len(said),
        "answer_length": mean(said),
        "given_length": mean(given),
    }


def beginnings(test: Shards, length: int, most: int, each: int = 1) -> list[tuple[int, int, int]]:
    """(chat, start, tokens) of what the endpoint would be asked: the beginnings of chats, up to the first answer.
    `each`: as for `prompts`."""
    found = []
    for chat in _spread(len(test), most, each):
        begin, end = int(test.offsets[chat]), int(test.offsets[chat + 1])
        shown = int(np.flatnonzero(test.mask_at(begin, end - begin))[0])
        found.append((chat, begin, min(length, shown)))
    return [prompt for prompt in found if prompt[2] >= 2]


def samples(
    tokenizer: Tokenizer, asked: list[list[int]], given: list[list[int]], said: list[list[int]], most: int
) -> list[dict[str, str]]:
    """Some of them as text, for the card."""
    count = min(most, len(asked))
    return [
        {"prompt": tokenizer.decode(asked[place]), "text": tokenizer.decode(said[place]),
         "given": tokenizer.decode(given[place])}
        for place in (len(asked) * index // count for index in range(count))
    ]  # fmt: skip
