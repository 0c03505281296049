"""What learners ask alike: a batch's worth of examples, and operations counted without leaving a trace."""

import pytest
import torch
from torch import nn

from base.errors import MetrolineError
from pipelines.tasks.learning import enough, training_flops


def test_less_than_a_batch_is_refused():
    enough(8, 8, "clips")
    with pytest.raises(
        MetrolineError, match=r"has 7 clips, less than one batch \(8\) \(take a longer series, or a sma"
    ):
        enough(7, 8, "clips", more="a longer series")


@pytest.mark.parametrize("training", [True, False])
def test_operations_of_forward_and_backward(training):
    network = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6)).train(training)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert training_flops(network, torch.ones(2, 4)) == 3 * 2 * 2 * 4 * 6
    assert network.training is training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
