"""The loss over the whole validation split, shared out over the processes."""

from collections.abc import Callable, Iterator

from torch import nn

from pipelines.tasks.interface import Batch
from pipelines.training.distributed import Group


class Interrupted(Exception):
    """A signal asked training to stop during validation."""


def mean_loss(
    objective: nn.Module, batches: Iterator[Batch], group: Group, stopping: Callable[[], bool]
) -> float | None:
    """Mean loss of all targets, in evaluation mode; None when there are none. Call it without gradients.

    Raises Interrupted.

    Every process calls the objective equally often, though the last time for nothing, because FSDP2 gathers weights
    there.
    """
    loss_sum, targets, waiting = 0.0, 0, list[Batch]()
    objective.eval()
    for batch in batches:
        waiting.append(batch)
        if len(waiting) == group.size:
            mine = waiting[group.rank]
            loss_sum += float(objective(**mine.inputs))
            targets += mine.targets
            waiting = []
            if stopping():
                raise Interrupted
    if waiting:
        counts = group.rank < len(waiting)
        mine = waiting[group.rank if counts else 0]
        loss = float(objective(**mine.inputs))
        if counts:
            loss_sum += loss
            targets += mine.targets
    loss_sum, all_targets = group.sum(loss_sum, targets)
    return loss_sum / all_targets if all_targets else None
