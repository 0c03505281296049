"""Samples: what the model writes after fixed beginnings, with a fixed seed. For a person to read; nothing is gated."""

from typing import TYPE_CHECKING, Any

import torch

from data.text.shards import Shards

if TYPE_CHECKING:
    from data.text.tokenizer import Tokenizer
    from models.checkpoint import LanguageModel

BEGINNING = 8  # tokens of a test document that a sample starts from


def beginnings(test: Shards, tokenizer: "Tokenizer", count: int) -> list[str]:
    """How `count` documents, spread over the split, begin: their first 8 tokens, at most a quarter of them."""
    documents = len(test.offsets) - 1
    chosen = [documents * index // count for index in range(count)] if documents >= count else list(range(documents))
    prompts = []
    for index in chosen:
        begin, end = int(test.offsets[index]) + len(test.first), int(test.offsets[index + 1])
        length = max(1, min(BEGINNING, (end - begin) // 4))
        prompts.append(tokenizer.decode(test.tokens_at(begin, length).tolist()))
    return prompts


@torch.inference_mode()
def continue_text(
    model: "LanguageModel", tokenizer: "Tokenizer", prompt: str, *, tokens: int, temperature: float, seed: int, eos: int
) -> str:
    """At most `tokens` tokens after `prompt`, drawn at `temperature` (0: the likeliest), stopping at end-of-text.

    An empty prompt begins a new document. A prompt that leaves no room in the context loses its beginning.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = [*tokenizer.first, *tokenizer.encode(prompt)] or [eos]
    tokens = min(tokens, model.config.context - 1)
    ids = ids[-(model.config.context - tokens) :]
    cache: Any = model.empty_cache(1)
    fresh, length = torch.tensor([ids]), len(ids)
    drawn: list[int] = []
    while len(drawn) < tokens:
        logits, cache = model.forward_cached(fresh, cache, torch.tensor([length]))
        last = logits[0, -1].double()
        if temperature == 0:
            token = int(last.argmax())
        else:
            token = int(torch.multinomial((last / temperature).softmax(-1), 1, generator=generator))
        if token == eos:
            break
        drawn.append(token)
        fresh, length = torch.tensor([[token]]), length + 1
    return tokenizer.decode(drawn)
