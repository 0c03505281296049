"""Every network of one call: its shapes, padding that changes nothing, BatchNorm folded."""

import pytest
import torch

from models.common.layers import ConvNorm, fold
from models.efficientnet import network as efficientnet
from models.encoder import network as encoder
from models.lenet import network as lenet
from models.mlp import network as mlp
from models.resnet import network as resnet
from models.text_cnn import network as text_cnn
from models.text_lstm import network as text_lstm
from models.text_transformer import network as text_transformer
from models.vgg import network as vgg
from models.vit import network as vit

GENERATOR = torch.Generator()
IMAGES = [(lenet, lenet.Config()), (resnet, resnet.Config(widths=(4, 8), blocks=1)), (vgg, vgg.Config(widths=(4, 8))),
          (resnet, resnet.Config(widths=(4, 8), blocks=1, stride=2)), (vit, vit.Config(layers=1, width=8, heads=2)),
          (mlp, mlp.Config(widths=(8,))), (efficientnet, efficientnet.Config())]  # fmt: skip
TEXTS = [
    (text_cnn, text_cnn.Config(embedding=6, filters=7, widths=(1, 2, 4))),
    (text_lstm, text_lstm.Config(embedding=6, width=5)),
    (text_transformer, text_transformer.Config(width=8, heads=2)),
    (encoder, encoder.Config(layers=1, width=8, heads=2)),
    (encoder, encoder.Config(layers=1, width=8, heads=2, places="rope", norm="pre", activation="geglu")),
]


def stirred(module: torch.nn.Module) -> torch.nn.Module:
    """With weights and running statistics as after training."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            tensor.normal_(std=0.3, generator=generator)
            if name.endswith("running_var"):
                tensor.abs_().add_(0.5)
    return module


@pytest.mark.parametrize(("module", "config"), IMAGES, ids=lambda value: getattr(value, "kind", ""))
def test_images_alone_and_in_a_batch(module, config) -> None:  # type: ignore[no-untyped-def]
    network = stirred(module.build(config, (3, 16, 12), 5, GENERATOR)).eval()
    batch = torch.randn(4, 3, 16, 12, generator=torch.Generator().manual_seed(2))
    together = network(batch)
    assert together.shape == (4, 5)
    torch.testing.assert_close(network(batch[1:2]), together[1:2], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("module", "config"), [*IMAGES[:5]], ids=lambda value: getattr(value, "kind", ""))
def test_folded_batch_norm_gives_the_same(module, config) -> None:  # type: ignore[no-untyped-def]
    network = stirred(module.build(config, (3, 16, 12), 5, GENERATOR)).eval()
    batch = torch.randn(4, 3, 16, 12, generator=torch.Generator().manual_seed(2))
    before = network(batch)
    fold(network)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in network.modules())
    torch.testing.assert_close(network(batch), before, atol=1e-4, rtol=1e-4)


def test_folding_in_training_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="training mode"):
        fold(torch.nn.Sequential(ConvNorm(3, 4)).train())


@pytest.mark.parametrize(("module", "config"), TEXTS, ids=lambda value: getattr(value, "kind", ""))
def test_padding_changes_nothing(module, config) -> None:  # type: ignore[no-untyped-def]
    network = stirred(module.build(config, (20, 50), 3, GENERATOR)).eval()
    tokens = torch.tensor([[7, 3, 9]])
    padded = torch.nn.functional.pad(tokens, (0, 6))
    torch.testing.assert_close(network(padded), network(tokens), atol=1e-5, rtol=1e-5)
    other = torch.cat([padded, torch.arange(1, 10)[None]])
    torch.testing.assert_close(network(other)[:1], network(tokens), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("module", "config"), [*IMAGES, *TEXTS], ids=lambda value: getattr(value, "kind", ""))
def test_first_weights_are_the_generators(module, config) -> None:  # type: ignore[no-untyped-def]
    shape = (20, 50) if (module, config) in TEXTS else (3, 16, 12)
    one, two = (module.build(config, shape, 5, torch.Generator().manual_seed(4)).state_dict() for _ in range(2))
    for name, weight in one.items():
        torch.testing.assert_close(weight, two[name], rtol=0, atol=0)
