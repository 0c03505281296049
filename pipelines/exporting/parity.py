"""Parity: does an exported form compute the same logits as the checkpoint, in every way that serving will use it?

The reference is the checkpoint's plain forward pass over each row's own tokens: no cache, no padding, batch of one.
The exported form has to reach it for prompts alone, for one new token over a cache, and for batches whose rows differ
in length (padded on the right), at each batch size and length of the recipe; with one row also for several new tokens
over a cache. GroupQueryAttention refuses that with more rows ("batch_size must be 1 when sequence_length > 1 and past
context is given"), so no exported form is asked for it. Logits are asked for at real tokens only, never at padding.
A last case shows every token of the vocabulary and every position of the context, so that no row of a table is left
untested; of a large model `SHOWN` and `LONGEST` of them, drawn, because each costs a pass through the whole model.

Of thousands of random tokens some have logits that the checkpoint itself rounds by more than a form may be off. A form
that is further off than that is held against the checkpoint in float64, which is as good as exact.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from base.errors import MetrolineError
from models.decoder.model import Decoder

Runner = Callable[[list[Tensor]], Sequence[Tensor]]
"""The inputs of `models.decoder.cached.CachedDecoder`, in order → logits, caches."""

LOGITS = 1 << 26  # numbers in the logits of one call of the last case
SHOWN = 1 << 12  # tokens of the last case at most
LONGEST = 1 << 11  # its positions at most
CHUNK = 3  # new tokens of the cases that continue a cache with several


@dataclass(frozen=True)
class Case:
    """`past` tokens are put into the cache first (0: none), then `new` ones. `ragged`: rows differ in length."""

    batch: int
    past: int
    new: int
    ragged: bool


def cases(batch_sizes: Sequence[int], lengths: Sequence[int], context: int) -> Iterator[Case]:
    """All cases that fit the context."""
    for batch in batch_sizes:
        for length in lengths:
            for past, new in ((0, length), (length, 1), (length, CHUNK)):
                if past + new <= context and (batch == 1 or not past or new == 1):
                    yield Case(batch, past, new, ragged=False)
                    if batch > 1 and max(past, new) > 1:
                        yield Case(batch, past, new, ragged=True)


def compare(
    runner: Runner, model: Decoder, batch_sizes: Sequence[int], lengths: Sequence[int], tolerance: float = math.inf
) -> dict[str, Any]:
    """Run all cases. Returns {"max_abs": largest absolute difference of a logit, "cases": [each with its own]}.

    A case that is off by more than `tolerance` is run again against the checkpoint in float64, and says so ("float64").
    A difference that is not a number counts as infinite. Raises MetrolineError when a case cannot be run at all.
    """
    config = model.config
    results = []
    length = min(config.context, LONGEST)
    whole = Case(min(-(-config.vocab_size // length), SHOWN // length), 0, length, ragged=False)
    every = [*cases(batch_sizes, lengths, config.context), whole]
    for number, case in enumerate(every):
        measure = whole_vocabulary if case is whole else run
        said = asdict(case)
        try:
            found = measure(runner, model, model, case, torch.Generator().manual_seed(number))
            if tolerance < found < math.inf:
                exact = copy.deepcopy(model).double()
                found = measure(runner, model, exact, case, torch.Generator().manual_seed(number))
                said["float64"] = True
        except Exception as error:  # whatever the runtime raises: the exported form does not take this case
            first_line = (str(error).strip().splitlines() or [""])[0]
            raise MetrolineError(f"parity: {case} does not run: {type(error).__name__}: {first_line}") from error
        results.append({**said, "max_abs": found})
    return {"max_abs": max(result["max_abs"] for result in results), "cases": results}


@torch.inference_mode()
def whole_vocabulary(
    runner: Runner, model: Decoder, reference: Decoder, case: Case, generator: torch.Generator
) -> float:
    """Largest absolute difference to `reference` of a logit when rows of `case.new` tokens show every token of `model`,
    in a few calls.

    Where a row's logits would be more than LOGITS numbers, those of some of its positions are compared.
    """
    vocabulary = model.config.vocab_size
    order = torch.randperm(vocabulary, generator=generator)
    rows = order.repeat(-(-case.batch * case.new // vocabulary))[: case.batch * case.new].view(case.batch, case.new)
    differences = []
    asked = min(case.new, max(1, LOGITS // vocabulary))
    for tokens in rows.split(max(1, LOGITS // (asked * vocabulary))):
        at = torch.randperm(case.new, generator=generator)[:asked].sort().values
        flat = (torch.arange(len(tokens))[:, None] * case.new + at).flatten()
        lengths = torch.full((len(tokens),), case.new)
        cache = [part for pair in model.empty_cache(len(tokens)) for part in pair]
        wanted = reference.lm_head(reference.features(tokens)[:, at]).flatten(0, 1)
        differences.append(difference(runner(inputs(tokens, lengths, cache, flat))[0], wanted))
    return max(differences)


@torch.inference_mode()
def run(runner: Runner, model: Decoder, reference: Decoder, case: Case, generator: torch.Generator) -> float:
    """Largest absolute difference to `reference` of a logit in one case, over all rows, in prefill and continuation."""
    config = model.config
    tokens = torch.randint(config.vocab_size, (case.batch, case.past + case.new), generator=generator)
    first = case.past or case.new  # tokens of the first call
    lengths = torch.full((case.batch,), first)
    if case.ragged:
        lengths = torch.randint(1, first + 1, (case.batch,), generator=generator)
        lengths[-1] = first
    wanted = [
        reference(row[None, : length + (case.new if case.past else 0)])[0]
        for row, length in zip(tokens, lengths.tolist(), strict=True)
    ]

    prompt = tokens[:, :first].clone()
    for row, length in enumerate(lengths.tolist()):
        prompt[row, length:] = 0
    cache = [part for pair in model.empty_cache(case.batch) for part in pair]
    real = (torch.arange(first) < lengths[:, None]).flatten().nonzero().flatten()  # all but padding
    logits, *cache = runner(inputs(prompt, lengths, cache, real))
    prompts = [logits_of[:length] for logits_of, length in zip(wanted, lengths.tolist(), strict=True)]
    differences = [difference(logits, torch.cat(prompts))]
    if case.past:
        more = torch.stack(
            [row[length : length + case.new] for row, length in zip(tokens, lengths.tolist(), strict=True)]
        )
        logits, *_ = runner(inputs(more, lengths + case.new, list(cache)))
        differences.append(difference(logits, torch.cat([logits_of[-case.new :] for logits_of in wanted])))
    return max(differences)


def inputs(tokens: Tensor, lengths: Tensor, cache: list[Tensor], logits_at: Tensor | None = None) -> list[Tensor]:
    """The flat inputs of an exported form. `lengths` [batch]: tokens of each row, the new ones included. `logits_at`
    [rows]: see `CachedDecoder`; default: all of them."""
    rows = torch.arange(tokens.numel()) if logits_at is None else logits_at
    return [tokens, (lengths - 1).to(torch.int32), lengths.max().to(torch.int32), rows, *cache]


def difference(got: Tensor, wanted: Tensor) -> float:
    """Largest absolute difference; infinite for another shape or a value that is not finite."""
    if got.shape != wanted.shape or not bool(torch.isfinite(got).all()):
        return float("inf")
    return float((got.to(wanted.dtype) - wanted).abs().max())
