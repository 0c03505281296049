"""Drawn answers → GRPO's loss, with its gradient through the fused head: no logits are held whole.

As in preference tuning the head runs twice on the same features, first without gradients for the log-probabilities,
then with the loss's derivatives as weights of the tokens.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from kernels import linear_cross_entropy
from kernels.cross_entropy.linear_cross_entropy import IGNORE
from pipelines.tasks.reinforcement.loss import token_costs

if TYPE_CHECKING:
    from models.decoder.model import Decoder
    from pipelines.tasks.reinforcement.config import ReinforcementConfig


class Reinforcement(nn.Module):
    """`pipelines.tasks.interface.Noting` objective: answers → the sum of their losses, float32 []."""

    def __init__(self, model: "Decoder", config: "ReinforcementConfig") -> None:
        super().__init__()
        self.model, self.config = model, config
        self._sums: dict[str, list[Tensor]] = {}

    def forward(
        self,
        tokens: Tensor,
        targets: Tensor,
        old: Tensor | None = None,
        reference: Tensor | None = None,
        advantage: Tensor | None = None,
        reward: Tensor | None = None,
        seed: Tensor | None = None,
    ) -> Tensor:
        """Tokens and targets: int64 [answers, S], one answer a row, targets where it is. `old`, `reference`: its
        log-probabilities when drawn and under the first weights, float32 [answers, S]; `advantage` and `reward`
        [answers]. Without them, as in validation: the mean nats of a given answer's tokens."""
        features = self.model.features(tokens, seed=seed)
        head, learnt = self.model.head_weight, targets != IGNORE
        share = learnt / learnt.sum(1, keepdim=True)
        if old is None or advantage is None or reward is None:
            return linear_cross_entropy(features, head, targets, token_weights=share, reduction="sum")
        with torch.no_grad():
            now = -linear_cross_entropy(features.detach(), head, targets, reduction="none")
            each = advantage[:, None].expand_as(now)
            costs = token_costs(now, old, reference, each, self.config.clip, self.config.kl)
            total = (costs.losses * share).sum()
            self._note(reward=reward, clipped=costs.clipped * share, kl=costs.kl * share,
                       length=learnt.float(), varied=(advantage != 0).float())  # fmt: skip
        weights = -costs.slopes * share  # of nats, which are minus log-probabilities
        weighted = linear_cross_entropy(features, head, targets, token_weights=weights, reduction="sum")
        return total + (weighted - weighted.detach())

    def _note(self, **values: Tensor) -> None:
        for name, value in values.items():
            self._sums.setdefault(name, []).append(value.sum())

    def noted(self) -> dict[str, float]:
        """Since it was last asked, sums over answers: `reward`; `length` in tokens; `kl` to the first weights and
        `clipped`, means over an answer's tokens; `varied`: 1 where its group's rewards differ, so that it can learn."""
        found, self._sums = self._sums, {}
        return {name: float(torch.stack(values).sum()) for name, values in found.items()}
