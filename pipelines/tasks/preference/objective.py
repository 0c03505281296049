"""The loss of pairs of answers as a module over a decoder, in one pass of the network and without its logits.

The loss is no sum over tokens, but its gradient is: each token of an answer weighs what its pair's loss changes by when
the answer's log-probability does. So the head runs twice on the same features, first without gradients for the
log-probabilities, then with these weights; the network itself runs forward and backward once.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from kernels import linear_cross_entropy
from kernels.cross_entropy.linear_cross_entropy import IGNORE
from pipelines.tasks.preference.loss import pair_losses

if TYPE_CHECKING:
    from models.decoder.model import Decoder
    from pipelines.tasks.preference.config import PreferenceConfig


class Preference(nn.Module):
    """`pipelines.tasks.interface.Noting` objective: pairs of answers → the sum of their losses, float32 []."""

    def __init__(self, model: "Decoder", config: "PreferenceConfig", label_smoothing: float) -> None:
        super().__init__()
        self.model, self.config, self.label_smoothing = model, config, label_smoothing
        self._sums: dict[str, list[Tensor]] = {}

    def forward(
        self,
        tokens: Tensor,
        targets: Tensor,
        positions: Tensor,
        cu_seqlens: Tensor,
        answers: Tensor,
        reference: Tensor,
        branches: Tensor | None = None,
        seed: Tensor | None = None,
    ) -> Tensor:
        """Tokens, targets, positions, branches: [rows, S], as `Decoder.features` takes them; `answers` [rows, S] says
        which answer each token is of: 2 n is pair n's chosen one, 2 n + 1 its rejected one. `reference`: their
        log-probabilities under the first weights, float32 [pairs, 2].

        Label smoothing applies in training mode only.
        """
        features = self.model.features(tokens, positions=positions, cu_seqlens=cu_seqlens, branches=branches, seed=seed)
        with torch.no_grad():
            now, counts = self.answer_sums(features, targets, answers, len(reference))
            change = now - reference
            if self.config.loss == "ipo":
                change = change / counts
            smoothing = self.label_smoothing if self.training else 0.0
            pairs = pair_losses(change[:, 0] - change[:, 1], self.config.loss, self.config.beta, smoothing)
            self._note(accuracy=(pairs.margins > 0).sum(), margin=pairs.margins.sum(), chosen=change[:, 0].sum(),
                       rejected=change[:, 1].sum())  # fmt: skip
            total = pairs.losses.sum()
            if not (self.training and features.requires_grad):
                return total
            slopes = torch.stack((-pairs.slopes, pairs.slopes), 1)  # by nats: minus log-probabilities
            if self.config.loss == "ipo":
                slopes = slopes / counts
            weights = slopes.flatten()[answers.clamp(min=0)]
        weighted = linear_cross_entropy(
            features, self.model.head_weight, targets, token_weights=weights, reduction="sum"
        )
        return total + (weighted - weighted.detach())

    @torch.no_grad()
    def log_probabilities(self, tokens: Tensor, targets: Tensor, answers: Tensor, **layout: Tensor) -> Tensor:
        """Of each answer as a whole, float32 [pairs, 2]; see `forward`."""
        features = self.model.features(tokens, **layout)
        return self.answer_sums(features, targets, answers, (int(answers.max()) + 1) // 2)[0]

    def answer_sums(self, features: Tensor, targets: Tensor, answers: Tensor, pairs: int) -> tuple[Tensor, Tensor]:
        """Log-probabilities and numbers of tokens, ends included, float32 [pairs, 2] each."""
        nats = linear_cross_entropy(features.detach(), self.model.head_weight, targets, reduction="none")
        place, learnt = answers.clamp(min=0).flatten(), (targets != IGNORE).flatten()
        sums = nats.new_zeros(2, 2 * pairs)
        sums[0].index_add_(0, place, -nats.flatten() * learnt)
        sums[1].index_add_(0, place, learnt.to(nats.dtype))
        return sums[0].view(pairs, 2), sums[1].view(pairs, 2)

    def _note(self, **values: Tensor) -> None:
        for name, value in values.items():
            self._sums.setdefault(name, []).append(value)

    def noted(self) -> dict[str, float]:
        """Since it was last asked, sums over pairs: `accuracy` (1 where the margin is above 0), `margin`, and what the
        log-probabilities of the `chosen` and `rejected` answers have changed by, in nats (ipo: per token)."""
        found, self._sums = self._sums, {}
        return {name: sum(map(float, values)) for name, values in found.items()}
