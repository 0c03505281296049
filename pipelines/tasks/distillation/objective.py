"""The student's loss, and beside it that of its twin, the same student that learns from the text alone.

    loss = (1 - weight) · cross-entropy with the text + weight · T² · KL(teacher, student)

The twins begin with the same weights and see the same batches in one run, so that they differ in the teacher alone.
Neither's gradient reaches the other; clipping, which would join them, is refused in the recipe.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from kernels import linear_cross_entropy
from pipelines.tasks.distillation.loss import divergence

if TYPE_CHECKING:
    from models.checkpoint import LanguageModel
    from pipelines.tasks.distillation.config import DistillationConfig

ALONE = "alone"
"""Below a checkpoint: the twin that had no teacher."""


class Twins(nn.Module):
    """Two networks with the same first weights: the student, and the one that learns alone."""

    def __init__(self, student: "LanguageModel", alone: "LanguageModel") -> None:
        super().__init__()
        self.student, self.alone = student, alone


class Distillation(nn.Module):
    """`pipelines.tasks.interface.Noting` objective: windows of text → the sum of their losses, float32 []."""

    def __init__(self, twins: Twins, config: "DistillationConfig", label_smoothing: float) -> None:
        super().__init__()
        self.twins, self.config, self.label_smoothing = twins, config, label_smoothing
        self._sums: dict[str, list[Tensor]] = {}

    def forward(
        self,
        tokens: Tensor,
        targets: Tensor,
        cu_seqlens: Tensor | None = None,
        teacher_ids: Tensor | None = None,
        teacher_log_p: Tensor | None = None,
        seed: Tensor | None = None,
    ) -> Tensor:
        """Tokens, targets: [B, S]; of the teacher: [B, S, k]. In training mode the sum of both twins' losses; without
        a teacher, as in validation, the student's cross-entropy with the text, by which it is judged."""
        student, alone = self.twins.student, self.twins.alone
        smoothing = self.label_smoothing if self.training else 0.0
        features = student.features(tokens, cu_seqlens=cu_seqlens, seed=seed)
        text = linear_cross_entropy(features, student.head_weight, targets, label_smoothing=smoothing, reduction="sum")
        without = linear_cross_entropy(
            alone.features(tokens, cu_seqlens=cu_seqlens, seed=seed), alone.head_weight, targets,
            label_smoothing=smoothing, reduction="sum",
        )  # fmt: skip
        self._note(alone=without, text=text)
        if teacher_ids is None or teacher_log_p is None:
            return text
        config = self.config
        apart = divergence(features, student.head_weight, targets, teacher_ids, teacher_log_p, config.temperature)
        self._note(teacher=apart)
        return (1 - config.weight) * text + config.weight * config.temperature**2 * apart + without

    def _note(self, **values: Tensor) -> None:
        for name, value in values.items():
            self._sums.setdefault(name, []).append(value.detach())

    def noted(self) -> dict[str, float]:
        """Since it was last asked, sums of nats: `text` (the student's cross-entropy), `alone` (its twin's) and, in
        training, `teacher` (the KL divergence)."""
        found, self._sums = self._sums, {}
        return {name: float(torch.stack(values).sum()) for name, values in found.items()}
