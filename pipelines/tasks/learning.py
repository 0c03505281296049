"""What the learners of several tasks ask alike: is there enough to learn from, and what does it cost?"""

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from base.errors import MetrolineError


def enough(examples: int, batch: int, what: str, more: str = "more data") -> None:
    """Raise MetrolineError: a train split of less than one batch. `what`: its examples; `more`: what would help."""
    if examples < batch:
        raise MetrolineError(
            f"the train split has {examples:,} {what}, less than one batch ({batch})",
            hint=f"take {more}, or a smaller train.batch",
        )


def training_flops(network: nn.Module, inputs: Tensor) -> float:
    """Floating-point operations to train on these inputs: forward, and backward, which takes twice as many."""
    training, where = network.training, next(network.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(inputs.to(where))
    network.train(training)
    return 3.0 * counter.get_total_flops()
