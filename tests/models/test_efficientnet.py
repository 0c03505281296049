"""EfficientNet-lite0: its size, TensorFlow's padding, and the weights of others, taken without running their code."""

import pickle
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from base.errors import MetrolineError
from models.common.layers import fold
from models.efficientnet import network as model
from models.efficientnet.network import Config, build, first

GENERATOR = torch.Generator()


def network(outputs: int = 10) -> model.EfficientNet:
    return build(Config(), (3, 32, 32), outputs, GENERATOR).eval()


def checkpoint(folder: Path, **changes: object) -> Path:
    """The package's format, by its own names, with random numbers; None takes a tensor out."""
    theirs = {model._theirs(name): torch.randn(tensor.shape) if tensor.dim() else tensor
              for name, tensor in network().state_dict().items() if not name.startswith("head.")}  # fmt: skip
    theirs |= {"_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)} | changes
    torch.save({name: tensor for name, tensor in theirs.items() if tensor is not None}, folder / "lite0.pth")
    return folder


def test_it_has_as_many_weights_as_lite0() -> None:
    assert sum(weight.numel() for weight in network(1000).parameters()) == 4_652_008  # of the package's checkpoint


@pytest.mark.parametrize(
    ("size", "stride", "length"), [(3, 2, 8), (3, 2, 7), (5, 2, 8), (5, 2, 9), (5, 1, 6), (3, 1, 1)]
)
def test_padding_is_tensorflows(size: int, stride: int, length: int) -> None:
    layer = model.SameConvNorm(1, 1, size, stride).eval()
    x = torch.arange(float(length)).expand(1, 1, length, length)
    out = -(-length // stride)
    more = max(0, (out - 1) * stride + size - length)  # tf.nn.convolution, padding SAME
    left = more // 2
    padded = functional.pad(x, [left, more - left, left, more - left])
    torch.testing.assert_close(layer(x), layer.norm(layer.conv(padded)))
    assert layer(x).shape[2:] == (out, out)


def test_weights_of_others_are_taken_and_the_head_stays(tmp_path: Path) -> None:
    found = network()
    found.head.bias.data.fill_(3.0)
    first(found, checkpoint(tmp_path))
    theirs = torch.load(tmp_path / "lite0.pth", weights_only=True)
    torch.testing.assert_close(found.layers[3].depth.conv.weight, theirs["_blocks.3._depthwise_conv.weight"])
    torch.testing.assert_close(found.last.norm.running_var, theirs["_bn1.running_var"])
    torch.testing.assert_close(found.stem.norm.bias, theirs["_bn0.bias"])
    assert (found.head.bias == 3.0).all()


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("harmed"),)  # type: ignore[return-value]


def test_a_file_that_runs_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lite0.pth").write_bytes(pickle.dumps(Harmful(), protocol=2))
    with pytest.raises(MetrolineError, match=r"lite0\.pth holds no plain weights"):
        first(network(), tmp_path)
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [("_bn1.running_var", None, r"_bn1\.running_var is not there, not \(1280,\)"),
     ("_conv_stem.weight", torch.zeros(8, 3, 3, 3), r"no EfficientNet-lite0: _conv_stem\.weight is \(8, 3, 3, 3\)")],
)  # fmt: skip
def test_other_weights_are_refused(tmp_path: Path, name: str, tensor: object, message: str) -> None:
    with pytest.raises(MetrolineError, match=message):
        first(network(), checkpoint(tmp_path, **{name: tensor}))


def test_no_file_damaged_ones_and_other_pixels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MetrolineError, match=r"0 \.pth files, and one is needed"):
        first(network(), tmp_path)
    (tmp_path / "lite0.pth").write_bytes(b"PK\3\4 and nothing")
    with pytest.raises(MetrolineError, match="holds no plain weights"):
        first(network(), tmp_path)
    with pytest.raises(ValueError, match="3 channels"):
        build(Config(), (1, 28, 28), 10, GENERATOR)


def test_folded_batch_norm_gives_the_same(tmp_path: Path) -> None:
    found = network()
    for name, tensor in found.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
    found.head.weight.data.normal_()
    batch = torch.randn(2, 3, 33, 40)
    before = found(batch)
    fold(found)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in found.modules())
    torch.testing.assert_close(found(batch), before, atol=1e-4, rtol=1e-4)
