"""Networks that forecast: shapes, rows that do not depend on their neighbours, what they say at first."""

import pytest
import torch

from models.ltsf_linear import network as ltsf_linear
from models.patchtst import network as patchtst

FORMS = [
    *((ltsf_linear, ltsf_linear.Config(form=form)) for form in ("linear", "nlinear", "dlinear")),
    (patchtst, patchtst.Config(patch=6, stride=3, layers=1, width=8, heads=2)),
]


@pytest.mark.parametrize(("module", "config"), FORMS, ids=lambda value: getattr(value, "form", ""))
def test_alone_and_in_a_batch(module, config) -> None:  # type: ignore[no-untyped-def]
    network = module.forecaster(config, 2, 40, 5, 4, torch.Generator()).eval()
    x = torch.randn(3, 2, 40, generator=torch.Generator().manual_seed(1)) + 7
    first = network(x)
    assert first.shape == (3, 2, 5, 4)
    torch.testing.assert_close(first[..., 0], x.mean(2, keepdim=True).expand(3, 2, 5), atol=1e-4, rtol=1e-4)
    assert (first[..., 1:].abs() < 1e-4).all()  # no spread besides the history's own
    for tensor in network.state_dict().values():
        tensor.normal_(std=0.2, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(network(x[1:2]), network(x)[1:2], atol=1e-5, rtol=1e-5)


def test_nlinear_moves_with_the_level() -> None:
    network = ltsf_linear.forecaster(ltsf_linear.Config(), 1, 10, 3, 2, torch.Generator())
    torch.nn.init.normal_(network.head.weight, generator=torch.Generator().manual_seed(3))
    x = torch.randn(1, 1, 10, generator=torch.Generator().manual_seed(4))
    moved = network(x + 100) - network(x)
    torch.testing.assert_close(moved[0, 0], torch.tensor([[100.0, 0.0]] * 3), atol=1e-3, rtol=0)


def test_a_history_shorter_than_a_patch() -> None:
    with pytest.raises(ValueError, match=r"longer than data.context"):
        patchtst.forecaster(patchtst.Config(patch=16), 1, 8, 2, 2, torch.Generator())
