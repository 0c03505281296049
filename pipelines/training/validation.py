"""The loss over the whole validation split, shared out over the processes."""

from collections.abc import Callable, Iterator

from torch import nn

from pipelines.tasks.interface import Batch, Noting
from pipelines.training.distributed import Group


class Interrupted(Exception):
    """A signal asked training to stop during validation."""


def noted(objective: nn.Module) -> dict[str, float]:
    """What an objective noted since it was last asked; nothing of one that notes nothing."""
    return objective.noted() if isinstance(objective, Noting) else {}


def mean_loss(
    objective: nn.Module, batches: Iterator[Batch], group: Group, stopping: Callable[[], bool]
) -> tuple[float | None, dict[str, float]]:
    """Mean loss of all targets, in evaluation mode, and the means of what the objective notes; None when there are no
    targets. Call it without gradients.

    Raises Interrupted.

    Every process calls the objective equally often, though the last time for nothing, because FSDP2 gathers weights
    there.
    """
    loss_sum, targets, waiting, sums = 0.0, 0, list[Batch](), dict[str, float]()
    objective.eval()

    def take(batch: Batch) -> None:
        nonlocal loss_sum, targets
        loss_sum += float(objective(**batch.inputs))
        targets += batch.targets
        for name, value in noted(objective).items():
            sums[name] = sums.get(name, 0.0) + value

    for batch in batches:
        waiting.append(batch)
        if len(waiting) == group.size:
            take(waiting[group.rank])
            waiting = []
            if stopping():
                raise Interrupted
    if group.rank < len(waiting):
        take(waiting[group.rank])
    elif waiting:
        objective(**waiting[0].inputs)
        sums |= dict.fromkeys(noted(objective).keys() - sums.keys(), 0.0)
    loss_sum, all_targets, *totals = group.sum(loss_sum, targets, *(sums[name] for name in sorted(sums)))
    if not all_targets:
        return None, {}
    return loss_sum / all_targets, {name: total / all_targets for name, total in zip(sorted(sums), totals, strict=True)}
