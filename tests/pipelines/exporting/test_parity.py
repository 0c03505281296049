"""Parity: the cases that are compared, and that a broken form of each kind is found."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from base.errors import MetrolineError
from models.decoder.cached import CachedDecoder
from models.decoder.config import DecoderConfig
from models.decoder.model import Decoder
from pipelines.exporting import parity
from pipelines.exporting.parity import Case, cases, compare

torch.set_num_threads(1)


def model(**shape: object) -> Decoder:
    values = {"vocab_size": 61, "context": 24, "layers": 2, "heads": 4, "kv_heads": 2, "width": 64, "init_std": 0.3}
    return Decoder(DecoderConfig.model_validate({**values, **shape}), torch.Generator().manual_seed(0)).eval()


def test_cases_cover_prompts_caches_chunks_and_ragged_batches() -> None:
    made = list(cases((1, 3), (1, 7, 22), context=24))
    assert Case(1, 0, 22, False) in made
    assert Case(1, 7, 3, False) in made  # several new tokens over a cache, one row only
    assert not [case for case in made if case.batch > 1 and case.past and case.new > 1]
    assert Case(3, 22, 1, True) in made
    assert Case(3, 0, 7, True) in made
    assert Case(3, 0, 1, True) not in made  # one token cannot be ragged
    assert all(case.past + case.new <= 24 for case in made)
    assert len(made) == len(set(made))


@pytest.mark.parametrize(
    "shape", [{}, {"positions": "learned", "norm": "layernorm", "activation": "gelu", "bias": True}]
)
def test_the_cached_form_has_parity(shape: dict[str, object]) -> None:
    checkpoint = model(**shape)
    wrapped = CachedDecoder(checkpoint)
    found = compare(lambda tensors: wrapped(*tensors), checkpoint, (1, 3), (1, 7, 20))
    assert found["max_abs"] < 1e-4
    assert found["max_abs"] == max(case["max_abs"] for case in found["cases"])
    assert {"batch", "past", "new", "ragged", "max_abs"} == set(found["cases"][0])


def broken(how: str, wrapped: CachedDecoder) -> parity.Runner:
    """An exported form with one typical fault."""

    def run(tensors: list[Tensor]) -> Sequence[Tensor]:
        tokens, seqlens, total, logits_at, *cache = tensors
        if how == "cache ignored" and cache[0].shape[2]:
            cache = [torch.zeros_like(part) for part in cache]
        if how == "positions of padding" and tokens.shape[1] == 1:
            seqlens = torch.full_like(seqlens, int(total) - 1)
        if how == "batch of one only" and tokens.shape[0] > 1:
            tokens = tokens[:1].expand(tokens.shape)
        if how == "rows in another order":
            logits_at = logits_at.flip(0)
        if how == "logits of padding too":
            logits_at = torch.arange(tokens.numel())
        logits, *cache = wrapped(tokens, seqlens, total, logits_at, *cache)
        if how == "one logit off":
            logits = logits.clone()
            logits[-1, 3] += 0.01
        if how == "not a number":
            logits = torch.full_like(logits, float("nan"))
        if how == "last token only":
            logits = logits[-1:]
        return [logits, *cache]

    return run


@pytest.mark.parametrize(
    ("how", "infinite"),
    [
        ("cache ignored", False),
        ("positions of padding", False),
        ("batch of one only", False),
        ("one logit off", False),
        ("rows in another order", False),
        ("logits of padding too", True),
        ("not a number", True),
        ("last token only", True),
    ],
)
def test_faults_are_found(how: str, infinite: bool) -> None:
    checkpoint = model()
    for tolerance in (math.inf, 5e-3):  # also where float64 decides
        found = compare(broken(how, CachedDecoder(checkpoint)), checkpoint, (1, 3), (1, 7), tolerance)
        assert found["max_abs"] > 5e-3
        assert (found["max_abs"] == float("inf")) is infinite


class Rounded(Decoder):
    """Off by more than forms may be, unless it computes in float64."""

    def features(self, *inputs: Tensor, **options: Tensor) -> Tensor:
        found = super().features(*inputs, **options)
        return found if found.dtype == torch.float64 else found + 0.1


def test_a_form_is_not_blamed_for_what_the_checkpoint_rounds() -> None:
    checkpoint = model()
    wrapped = CachedDecoder(checkpoint)
    rounded = Rounded(checkpoint.config).eval()
    rounded.load_state_dict(checkpoint.state_dict())
    assert compare(lambda tensors: wrapped(*tensors), rounded, (1, 2), (1, 7))["max_abs"] > 1e-3
    found = compare(lambda tensors: wrapped(*tensors), rounded, (1, 2), (1, 7), 1e-3)
    assert found["max_abs"] < 1e-4
    assert all(case["float64"] for case in found["cases"])
    assert next(rounded.parameters()).dtype == torch.float32


def test_every_token_and_every_position_is_shown() -> None:
    checkpoint = model()
    wrapped, tokens, length = CachedDecoder(checkpoint), set(), 0

    def run(tensors: list[Tensor]) -> Sequence[Tensor]:
        nonlocal length
        tokens.update(tensors[0].flatten().tolist())
        length = max(length, tensors[0].shape[1])
        return wrapped(*tensors)

    compare(run, checkpoint, (1,), (1,))
    assert tokens == set(range(61))
    assert length == checkpoint.config.context


def test_of_a_large_model_some_tokens_positions_and_logits_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "SHOWN", 24)
    monkeypatch.setattr(parity, "LONGEST", 8)
    monkeypatch.setattr(parity, "LOGITS", 5 * 61)
    checkpoint, asked = model(), []
    for how in ("", "one logit off"):
        inner = broken(how, CachedDecoder(checkpoint))

        def run(tensors: list[Tensor], inner: parity.Runner = inner) -> Sequence[Tensor]:
            asked.append((*tensors[0].shape, len(tensors[3])))
            return inner(tensors)

        found = compare(run, checkpoint, (1,), (1,))
        assert found["cases"][-1] | {"max_abs": 0} == {"batch": 3, "past": 0, "new": 8, "ragged": False, "max_abs": 0}
        assert asked[-3:] == [(1, 8, 5)] * 3
        assert (found["cases"][-1]["max_abs"] > 5e-3) is bool(how)


def test_a_case_that_does_not_run_is_named() -> None:
    def run(tensors: list[Tensor]) -> Sequence[Tensor]:
        raise RuntimeError("sequence is specialised to 5\nmore")

    with pytest.raises(
        MetrolineError, match=r"Case\(batch=1, past=0, new=4.*RuntimeError: sequence is specialised to 5$"
    ):
        compare(run, model(), (1,), (4,))


def test_the_same_cases_have_the_same_tokens() -> None:
    checkpoint = model()
    wrapped, seen = CachedDecoder(checkpoint), []

    def run(tensors: list[Tensor]) -> Sequence[Tensor]:
        seen.append(tensors[0].clone())
        return wrapped(*tensors)

    compare(run, checkpoint, (2,), (5,))
    half = len(seen)
    torch.manual_seed(99)
    compare(run, checkpoint, (2,), (5,))
    assert all(torch.equal(a, b) for a, b in zip(seen[:half], seen[half:], strict=True))
