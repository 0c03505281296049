"""What a model has forgotten: its perplexity on ordinary text, beside that of the weights it began with."""

import math
from pathlib import Path

import torch

from base.errors import MetrolineError
from base.files import sha256
from data.text.text_form import TextForm
from data.text.tokenizer import Tokenizer
from kernels import linear_cross_entropy
from models.decoder.model import Decoder
from pipelines.tasks.instruction.config import PlainText

ROOT = Path(__file__).resolve().parents[3]


def plain_tokens(config: PlainText, form: TextForm, tokenizer: Tokenizer) -> list[int]:
    """The tokens to score, the first one shown only. Raises MetrolineError: no such file, another one, or no text."""
    path = ROOT / config.path
    if not path.is_file():
        raise MetrolineError(f"evaluate.plain_text.path: there is no file {config.path}")
    if (found := sha256(path)) != config.sha256:
        raise MetrolineError(f"{config.path} is not what the recipe pins", hint=f"its SHA-256 is {found}")
    try:
        text = form.apply(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise MetrolineError(f"{config.path}: not UTF-8 at byte {error.start:,}") from None
    tokens = tokenizer.encode(text)[: config.tokens + 1]
    if len(tokens) < 65:
        raise MetrolineError(f"{config.path}: {len(tokens)} tokens are too few to measure forgetting on")
    return tokens


@torch.inference_mode()
def perplexity(model: Decoder, tokens: list[int], context: int) -> float:
    """exp of the mean nats of all tokens but the first, in windows side by side of at most `context` tokens."""
    context = min(context, model.config.context)
    nats = 0.0
    for at in range(0, len(tokens) - 1, context):
        window = torch.tensor(tokens[at : at + context + 1])[None]
        features = model.features(window[:, :-1])
        nats += float(linear_cross_entropy(features, model.head_weight, window[:, 1:], reduction="sum"))
    return math.exp(min(nats / (len(tokens) - 1), 100.0))


def compare(
    model: Decoder, base: Decoder, config: PlainText, form: TextForm, tokenizer: Tokenizer
) -> dict[str, float | int]:
    """metrics.json's `base`: the perplexity of both on ordinary text, and its relative rise. Raises MetrolineError as
    `plain_tokens` does."""
    text = plain_tokens(config, form, tokenizer)
    tuned, original = (perplexity(network, text, config.context) for network in (model, base))
    return {
        "perplexity": original,
        "tuned_perplexity": tuned,
        "perplexity_delta": tuned / original - 1,
        "tokens": len(text) - 1,
    }
