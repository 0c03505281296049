"""Output head and cross-entropy as one op that never holds all logits.

    loss = linear_cross_entropy(features, model.head_weight, targets, reduction="sum")

Tokens go through in chunks: logits of a chunk, its losses, and at once its gradients, which the backward pass only
scales (as Liger-Kernel does it, Hsu et al. 2024, arXiv:2410.10989). So the head costs three matrix products, as
unfused, and memory for one chunk's logits. The custom op is opaque to torch.compile and the same in eager mode.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.attention import support

IGNORE = -100  # the target of a token that does not count, as in torch.nn.functional.cross_entropy
_CHUNK_ELEMENTS = 1 << 19  # logits held at once on a CPU: 2 MiB, what fits a core's second-level cache
_CHUNK_ELEMENTS_GPU = 1 << 27
_LEAST, _LEAST_LEARNING = 16, 128  # tokens at once; a head that learns is read and written as a whole for each chunk


def linear_cross_entropy(
    features: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    token_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    reduction: Literal["mean", "sum", "none"] = "mean",
    backend: Literal["auto", "triton", "torch"] = "auto",
) -> Tensor:
    """Cross-entropy of features @ weight.T against targets, in nats, float32.

    Args:
        features: [..., W] floating point.
        weight: [V, W], the output head. Multiplied in the features' dtype; under autocast in its dtype.
        targets: int64 [...], each in [0, V), or -100 where a token does not count. On a GPU, where looking would be
            waiting, the Triton kernel answers another number with a loss and gradients that are not-a-number.
        token_weights: float [...], a factor for each token's loss (no gradient flows to it).
        label_smoothing: share of the target that is spread evenly over the vocabulary.
        reduction: the sum, the sum over the number of tokens that count (0 where none does), or (without gradients)
            each token's loss.
        backend: what makes losses and gradients of a chunk's logits; auto takes triton on a GPU that has it.

    Returns: [] or, for "none", [...]. Raises ValueError for shapes that do not fit, a target that is no word (on a
    CPU), "none" with gradients, or a backend that cannot run.
    """
    if features.shape[:-1] != targets.shape or features.shape[-1] != weight.shape[-1]:
        raise ValueError(
            f"linear_cross_entropy: features {list(features.shape)}, weight {list(weight.shape)} and targets "
            f"{list(targets.shape)} do not fit"
        )
    if targets.dtype != torch.int64:
        raise ValueError(f"linear_cross_entropy: targets must be int64, not {targets.dtype}")
    if token_weights is not None and token_weights.shape != targets.shape:
        given = list(token_weights.shape)
        raise ValueError(f"linear_cross_entropy: token_weights must be {list(targets.shape)}, not {given}")
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"linear_cross_entropy: label_smoothing must be in [0, 1), not {label_smoothing}")
    training = torch.is_grad_enabled() and (features.requires_grad or weight.requires_grad)
    if reduction == "none" and training:
        raise ValueError("linear_cross_entropy: each token's own loss has no gradient here; use token_weights")
    kind = features.device.type
    if backend == "triton" and not (support.INSTALLED and (kind == "cuda" or support.INTERPRETED)):
        raise ValueError(f"linear_cross_entropy: triton has no {kind} backend here")
    small = targets.numel() * weight.shape[0] <= _CHUNK_ELEMENTS
    if small and token_weights is None and backend == "auto":
        # Nothing to gain by chunks, and a call saved.
        losses = _plain(features, weight, targets, label_smoothing, "none" if reduction == "none" else "sum")
        return _mean(losses, targets) if reduction == "mean" else losses
    if torch.is_autocast_enabled(kind):
        features = features.to(torch.get_autocast_dtype(kind))
    flat_targets = targets.reshape(-1)
    scale = None if token_weights is None else token_weights.reshape(-1).float()
    total, losses, _, _ = _op(
        features.reshape(-1, features.shape[-1]), weight, flat_targets, scale, label_smoothing, training,
        training and weight.requires_grad,
        backend == "triton" or (backend == "auto" and kind == "cuda" and support.INSTALLED),
    )  # fmt: skip
    if reduction == "none":
        return losses.view(targets.shape)
    return _mean(total, flat_targets) if reduction == "mean" else total


def _mean(total: Tensor, targets: Tensor) -> Tensor:
    return total / (targets != IGNORE).sum().clamp(min=1)


def _plain(features: Tensor, weight: Tensor, targets: Tensor, label_smoothing: float, reduction: str) -> Tensor:
    if not torch.compiler.is_compiling():
        _check_targets(targets, weight.shape[0])
    logits = F.linear(features, weight.to(features.dtype)).flatten(0, -2)
    losses = F.cross_entropy(
        logits.float(), targets.flatten(), reduction=reduction, ignore_index=IGNORE, label_smoothing=label_smoothing
    )
    return losses.view(targets.shape) if reduction == "none" else losses


def _check_targets(targets: Tensor, vocab: int) -> None:
    """Raise ValueError naming the first target that is no word. On a CPU only: elsewhere looking would be waiting."""
    if targets.device.type != "cpu":
        return
    wrong = ((targets < 0) & (targets != IGNORE)) | (targets >= vocab)
    if wrong.any():
        place = int(wrong.flatten().nonzero()[0])
        value = int(targets.flatten()[place])
        raise ValueError(
            f"linear_cross_entropy: the target of token {place} is {value}, not a word in [0, {vocab}) or {IGNORE}"
        )


@torch.library.custom_op("metroline::linear_cross_entropy", mutates_args=())
def _op(
    features: Tensor,
    weight: Tensor,
    targets: Tensor,
    scale: Tensor | None,
    label_smoothing: float,
    training: bool,
    learns: bool,
    triton: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(sum [], losses [N], the sum's gradient to features, to weight); float32, gradients empty unless training, the
    weight's unless it `learns`. On a CPU tokens that do not count cost nothing; elsewhere looking would be waiting."""
    if features.device.type == "cpu":
        _check_targets(targets, weight.shape[0])
        counts = targets != IGNORE
        if not counts.all():
            place = counts.nonzero()[:, 0]
            factor = None if scale is None else scale[place]
            total, some, grad_some, grad_weight = _chunked(
                features[place], weight, targets[place], factor, label_smoothing, training, learns, triton
            )
            losses = features.new_zeros(features.shape[0], dtype=torch.float32).index_copy_(0, place, some)
            grad = torch.zeros_like(features).index_copy_(0, place, grad_some) if training else grad_some
            return total, losses, grad, grad_weight
    return _chunked(features, weight, targets, scale, label_smoothing, training, learns, triton)


def _chunked(
    features: Tensor,
    weight: Tensor,
    targets: Tensor,
    scale: Tensor | None,
    label_smoothing: float,
    training: bool,
    learns: bool,
    triton: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What `_op` gives, a chunk of tokens after another."""
    count = features.shape[0]
    vocab = weight.shape[0]
    head = weight.to(features.dtype)
    losses = features.new_zeros(count, dtype=torch.float32)
    grad_features = torch.empty_like(features) if training else features.new_empty(0)
    grad_weight = torch.zeros_like(weight, dtype=torch.float32) if learns else features.new_empty(0)
    budget = _CHUNK_ELEMENTS if features.device.type == "cpu" else _CHUNK_ELEMENTS_GPU
    step = max(_LEAST_LEARNING if learns else _LEAST, budget // vocab)
    rows = _rows
    if triton:
        from kernels.cross_entropy.triton_cross_entropy import rows
    with torch.cuda.device_of(features):
        for start in range(0, count, step):
            piece = slice(start, start + step)
            part = features[piece]
            factor = None if scale is None else scale[piece]
            losses[piece], gradient = rows(part @ head.t(), targets[piece], factor, label_smoothing, training)
            if training:
                torch.mm(gradient, head, out=grad_features[piece])
            if learns and grad_weight.dtype == gradient.dtype:
                grad_weight.addmm_(gradient.t(), part)
            elif learns:
                grad_weight += gradient.t() @ part
    return losses.sum(), losses, grad_features, grad_weight.to(weight.dtype) if learns else grad_weight


def _rows(
    logits: Tensor, targets: Tensor, scale: Tensor | None, label_smoothing: float, training: bool
) -> tuple[Tensor, Tensor]:
    """Losses [rows] and the gradient of their sum to the logits, in the logits' dtype; `logits` may be overwritten."""
    log_p = torch.log_softmax(logits.float(), dim=-1)
    counts = targets != IGNORE
    index = targets.clamp(min=0)[:, None]
    losses = -log_p.gather(1, index)[:, 0]
    if label_smoothing:
        losses = (1 - label_smoothing) * losses - label_smoothing * log_p.mean(dim=-1)
    factor = counts.float() if scale is None else counts * scale
    losses = torch.where(counts, losses * factor, 0.0)
    if not training:
        return losses, logits
    gradient = log_p.exp_()
    if label_smoothing:
        gradient -= label_smoothing / logits.shape[-1]
    gradient.scatter_add_(1, index, gradient.new_full(index.shape, label_smoothing - 1))
    if scale is not None or logits.device.type != "cpu" or not bool(counts.all()):  # asking a GPU would wait for it
        gradient *= factor[:, None]
    return losses, gradient.to(logits.dtype)


@_op.register_fake
def _(
    features: Tensor,
    weight: Tensor,
    targets: Tensor,
    scale: Tensor | None,
    label_smoothing: float,
    training: bool,
    learns: bool,
    triton: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    losses = features.new_empty(features.shape[0], dtype=torch.float32)
    grad_features = torch.empty_like(features) if training else features.new_empty(0)
    grad_weight = torch.empty_like(weight) if learns else features.new_empty(0)
    return losses.new_empty(()), losses, grad_features, grad_weight


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(*output[2:])
    ctx.learns = inputs[6]


def _backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    grad_features, grad_weight = ctx.saved_tensors
    to_weight = (grad_weight * grad).to(grad_weight.dtype) if ctx.learns else None
    return (grad_features * grad).to(grad_features.dtype), to_weight, *[None] * 6


_op.register_autograd(_backward, setup_context=_save)
