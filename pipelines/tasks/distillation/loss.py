"""How far a student is from its teacher, of whom only the k likeliest tokens are known at each place.

The teacher's distribution q and the student's p, both at temperature T, have one entry for each of the k tokens and one
for all others together, so that nothing is made up about these; the loss is KL(q, p) of that, and equal to the whole
KL divergence where k is the vocabulary (Hinton et al. 2015, arXiv:1503.02531, whose factor T² is the caller's).
With z = log p - log Z, where Z sums over all tokens, its derivatives are simple, and sum to 0:

    by log Z    sum of q - r · sum of p        r = rest of q / rest of p
    by z        r p - q

So logits are never held whole: log Z comes from one pass of `kernels.linear_cross_entropy` without gradients, and a
second pass with these derivatives as weights of its tokens has exactly the loss's gradient.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels import linear_cross_entropy

LEAST = 1e-6
"""What the rest of p is at least taken to be: below, float32 cannot tell it from rounding."""


def divergence(
    features: Tensor, head: Tensor, targets: Tensor, ids: Tensor, log_q: Tensor, temperature: float
) -> Tensor:
    """The sum over tokens of KL(teacher, student), float32 [], with its gradient to features and head.

    Args:
        features: [..., W]; head: [V, W]. targets: int64 [...], any tokens, as the text has them.
        ids, log_q: [..., k], the teacher's likeliest tokens and their log-probabilities at the temperature; where all
            are minus infinity it was not asked (what opens every text nobody predicts), and nothing is learnt from it.
    """
    scaled = features / temperature
    every = torch.cat([ids.long(), targets[..., None]], -1)
    with torch.no_grad():
        z = _logits(scaled, head, every)
        nats = linear_cross_entropy(scaled, head, targets, reduction="none")
        log_p = z[..., :-1] - (nats + z[..., -1])[..., None]
        p, q = log_p.exp(), log_q.exp()
        rest_p, rest_q = (1 - p.sum(-1)).clamp(min=LEAST), (1 - q.sum(-1)).clamp(min=0)
        losses = (q * (log_q - log_p)).sum(-1) + torch.xlogy(rest_q, rest_q / rest_p)
        ratio = rest_q / rest_p
        by_log_z = q.sum(-1) - ratio * p.sum(-1)
        by_z = torch.cat([ratio[..., None] * p - q, by_log_z[..., None]], -1)
        asked = log_q[..., 0].isfinite()
        losses, by_log_z = torch.where(asked, losses, 0.0), torch.where(asked, by_log_z, 0.0)
        by_z = torch.where(asked[..., None], by_z, 0.0)
    if not torch.is_grad_enabled():
        return losses.sum()
    weighted = linear_cross_entropy(scaled, head, targets, token_weights=by_log_z, reduction="sum")
    exact = weighted + (by_z * _logits(scaled, head, every)).sum()
    return losses.sum() + (exact - exact.detach())


def _logits(features: Tensor, head: Tensor, ids: Tensor) -> Tensor:
    """Logits of some tokens a place, float32: [..., W], [V, W], [..., k] → [..., k]."""
    return torch.einsum("...w,...kw->...k", features.float(), F.embedding(ids, head).float())
