"""What a quantized form loses: its loss on the test split beside the float32 graph's; and the text to calibrate on."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from models.decoder.cached import CachedDecoder
from pipelines.exporting.parity import Runner
from pipelines.exporting.runners import logits_of

if TYPE_CHECKING:
    from pipelines.tasks.interface import HeldOut

CHUNK = 64
WINDOW = (
    512  # tokens at a time at most: a quantized model errs in short texts as in long ones, and attention is quadratic
)


def losses(
    runner: Runner, model: CachedDecoder, tokens: int, held_out: "HeldOut", *, cached: bool = False
) -> np.ndarray:
    """Nats [N] of about `tokens` tokens, in stretches spread over the test split; the same for every form. `cached`:
    a few tokens at a time over the cache, whose loss counts where it is quantized."""
    return held_out.losses(logits_of(runner, model, CHUNK if cached else None), window(model), tokens)


def compare(quantized: np.ndarray, fp32: np.ndarray) -> dict[str, float | int]:
    """{"loss", "loss_fp32": nats per token; "loss_delta", "perplexity_delta": their relative rise; "tokens"}."""
    loss, reference = float(quantized.mean()), float(fp32.mean())
    rise = min(loss - reference, 100.0)  # of a form that is broken: e^100 is bad enough
    return {
        "loss": loss,
        "loss_fp32": reference,
        "loss_delta": loss / reference - 1,
        "perplexity_delta": math.exp(rise) - 1 if not math.isnan(rise) else rise,
        "tokens": len(fp32),
    }


def calibration(model: CachedDecoder, tokens: int, held_out: "HeldOut") -> Iterator[np.ndarray]:
    """Windows of token ids [S], together about `tokens`, spread over the validation split."""
    return held_out.calibration(window(model), tokens)


def window(model: CachedDecoder) -> int:
    """Tokens that are judged at a time."""
    return min(WINDOW, model.model.config.context)
