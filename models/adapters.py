"""Low-rank adapters on linear layers whose own weights stay as they are: LoRA, rsLoRA and DoRA.

    attach(network, Form(rank=8, alpha=16), ["q_proj", "v_proj"], torch.Generator().manual_seed(0))
    ...                              # only what the adapters hold requires a gradient
    merge(network)                   # plain linear layers again, which compute the same

`Adapted` stands in a linear layer's place, so that any network calls it unknowingly; a network that multiplies by
several layers' weights at once calls `project`. Files are `models.adapter_files`'.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from base.errors import MetrolineError, nearest
from kernels.nf4 import NF4, dequantize, nf4_linear, quantize

PARTS = ("lora_a", "lora_b", "magnitude")
"""The names of an adapter's own weights."""


@dataclass(frozen=True)
class Form:
    """What an adapter computes: W x + scaling · B A x, with A [rank, K] and B [N, rank]; LoRA (Hu et al. 2021,
    arXiv:2106.09685)."""

    rank: int
    alpha: float
    stabilized: bool = False
    """Scaled by α / √rank instead of α / rank: rsLoRA (Kalajdzievski 2023, arXiv:2312.03732)."""
    decomposed: bool = False
    """Each row of W + scaling · B A has a length of its own, which is trained too: DoRA (Liu et al. 2024,
    arXiv:2402.09353)."""
    quantized: bool = False
    """W is what its four bits in NF4 stand for: QLoRA (Dettmers et al. 2023, arXiv:2305.14314)."""

    def scaling(self) -> float:
        """The factor of B A."""
        return self.alpha / (math.sqrt(self.rank) if self.stabilized else self.rank)


class Adapted(nn.Linear):
    """A linear layer, frozen, with an adapter: [..., K] → [..., N]. It begins as the layer: B is zero.

    `generator` draws A as PEFT does (Kaiming's uniform distribution with a = √5); None leaves it empty, to be filled.
    """

    lora_a: nn.Parameter
    lora_b: nn.Parameter
    magnitude: nn.Parameter | None

    def __init__(self, linear: nn.Linear, form: Form, generator: torch.Generator | None = None) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None, device="meta")
        self.weight, self.form, self.scaling = linear.weight, form, form.scaling()
        if linear.bias is not None:
            self.bias = linear.bias
        dtype, device = linear.weight.dtype, linear.weight.device
        if form.quantized:
            packed = quantize(linear.weight)
            self.weight, self.magnitudes, self.scales, self.mean = (
                nn.Parameter(part, requires_grad=False) for part in packed[:4]
            )
        self.requires_grad_(False)
        new = torch.zeros if generator is not None else torch.empty
        self.lora_a = nn.Parameter(new(form.rank, self.in_features, dtype=dtype, device=device))
        self.lora_b = nn.Parameter(new(self.out_features, form.rank, dtype=dtype, device=device))
        if generator is not None:
            bound = 1 / math.sqrt(self.in_features)  # of Kaiming's distribution with a = √5
            with torch.no_grad():
                self.lora_a.copy_(torch.empty(self.lora_a.shape).uniform_(-bound, bound, generator=generator))
        self.magnitude = None
        if form.decomposed:
            self.magnitude = nn.Parameter(torch.linalg.norm(self.base_weight(), dim=1))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.finish(self.plain(x), F.linear(x, self.lora_a))

    def packed(self) -> NF4:
        """The frozen weight in four bits, where the form has it so."""
        return NF4(self.weight, self.magnitudes, self.scales, self.mean, self.out_features, self.in_features)

    def base_weight(self) -> Tensor:
        """The frozen weight [N, K]; float32 out of four bits."""
        return dequantize(self.packed()) if self.form.quantized else self.weight

    def plain(self, x: Tensor) -> Tensor:
        """x Wᵀ [..., N], without adapter and bias."""
        return nf4_linear(x, self.packed()) if self.form.quantized else F.linear(x, self.weight)

    def finish(self, plain: Tensor, low: Tensor) -> Tensor:
        """x Wᵀ [..., N] and x Aᵀ [..., rank] → what the layer gives for x."""
        shape = plain.shape
        out = torch.addmm(plain.flatten(0, -2), low.flatten(0, -2), self.lora_b.t(), alpha=self.scaling).view(shape)
        if self.magnitude is not None:
            out = (out * (self.magnitude / self._lengths())).to(out.dtype)
        return out if self.bias is None else out + self.bias

    @torch.no_grad()
    def _lengths(self) -> Tensor:
        """Of the rows of W + scaling · B A, float32 [N]; a constant to the gradient, as DoRA's authors have it."""
        return torch.linalg.norm(self._sum(), dim=1)

    def _sum(self) -> Tensor:
        with torch.autocast(self.weight.device.type, enabled=False):  # which would round it to bfloat16
            return torch.addmm(self.base_weight().float(), self.lora_b.float(), self.lora_a.float(), alpha=self.scaling)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """A plain layer that computes the same. Raises ValueError for weights that are not float32: the sum would be
        rounded to what they are."""
        if self.base_weight().dtype != torch.float32:
            raise ValueError(f"an adapter is merged into float32 weights, not into {self.weight.dtype}")
        whole = self._sum()
        if self.magnitude is not None:
            whole *= (self.magnitude / torch.linalg.norm(whole, dim=1))[:, None]
        plain = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None, device="meta")
        plain.weight = nn.Parameter(whole)
        if self.bias is not None:
            plain.bias = nn.Parameter(self.bias.detach().clone())
        return plain.train(self.training)


def project(x: Tensor, linears: Sequence[nn.Linear], gain: Tensor | None = None) -> Tensor:
    """x · gain [..., K] → the outputs of frozen layers, adapted or not, side by side: [..., N].

    `gain` [K] is a norm's weight. It multiplies A too, not only x: what the gradient of A needs is then x, which the
    norm keeps anyhow, and not a second copy of it.
    """
    scaled = x if gain is None else x * gain.to(x.dtype)
    outputs = []
    for linear in linears:
        if isinstance(linear, Adapted):
            low = F.linear(x, linear.lora_a if gain is None else linear.lora_a * gain)
            outputs.append(linear.finish(linear.plain(scaled), low))
        else:
            outputs.append(linear(scaled))
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)


def hidden_numbers(network: nn.Module) -> int:
    """How many numbers more the frozen weights stand for than their tensors have, being packed."""
    layers = [layer for layer in adapted(network).values() if layer.form.quantized]
    return sum(
        layer.in_features * layer.out_features - sum(part.numel() for part in layer.packed()[:4]) for layer in layers
    )


def adapted(network: nn.Module) -> dict[str, Adapted]:
    """The layers with adapters, by their names in the network."""
    return {name: module for name, module in network.named_modules() if isinstance(module, Adapted)}


def own(layer: Adapted) -> dict[str, Tensor]:
    """What an adapter itself holds, by the names of its parts."""
    return {name: weight for name in PARTS if (weight := getattr(layer, name)) is not None}


def attach(
    network: nn.Module,
    form: Form,
    targets: Collection[str],
    generator: torch.Generator | None,
    outer: Collection[str] = (),
) -> None:
    """Freeze a network and give its linear layers that `targets` name an adapter each, in place.

    Args:
        targets: layers' names or ends of them, such as `q_proj`, `layers.0.*`, `*`.
        generator: see `Adapted`; the same seed gives the same adapters.
        outer: weights of the output, such as `lm_head.weight`; `*` passes their layers over.

    Raises MetrolineError: a pattern that names no linear layer, or only the output's; a rank that is no smaller than a
    layer; a network with adapters already, with BatchNorm (whose averages would change) or with a tied linear layer.
    """
    if adapted(network):
        raise MetrolineError("the network has adapters already", hint="merge them first")
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules()):
        raise MetrolineError("a network with BatchNorm cannot have an adapter: its averages do not stand still")
    for name in _chosen(network, targets, outer):
        place, _, own = name.rpartition(".")
        parent = network.get_submodule(place)
        linear = getattr(parent, own)
        if generator is not None and form.rank >= (most := min(linear.weight.shape)):
            raise MetrolineError(
                f"a rank of {form.rank} saves nothing on {name}, which is {list(linear.weight.shape)}",
                hint=f"take a rank below {most}, or train without an adapter",
            )
        setattr(parent, own, Adapted(linear, form, generator))
    for name, weight in network.named_parameters():
        weight.requires_grad_(name.rpartition(".")[2] in PARTS)


def merge(network: nn.Module) -> None:
    """Make every adapted layer a plain one that computes the same, in place. Raises ValueError: there is none, or its
    weights are not float32."""
    layers = adapted(network)
    if not layers:
        raise ValueError("there is no adapter to merge")
    for name, layer in layers.items():
        place, _, own = name.rpartition(".")
        setattr(network.get_submodule(place), own, layer.merged())
    network.requires_grad_(True)


def unused(network: nn.Module) -> list[str]:
    """After a backward pass: the adapted layers that had no part in it, since the network does not call them."""
    return [name for name, layer in adapted(network).items() if layer.lora_b.grad is None]


def _chosen(network: nn.Module, targets: Collection[str], outer: Collection[str]) -> list[str]:
    """Names of the linear layers that `targets` name, in the network's order."""
    shared: dict[int, list[str]] = {}
    for name, weight in network.named_parameters(remove_duplicate=False):
        shared.setdefault(id(weight), []).append(name)
    linears = {name: module for name, module in network.named_modules() if type(module) is nn.Linear}
    chosen: set[str] = set()
    for pattern in targets:
        found = {name for name in linears if fnmatchcase(name, pattern) or fnmatchcase(name, f"*.{pattern}")}
        if not found:
            last = sorted({name.rpartition(".")[2] for name in linears})
            raise MetrolineError(f"no linear layer is called {pattern}; {nearest(pattern, last)}")
        inner = {name for name in found if f"{name}.weight" not in outer}
        if not inner:
            raise MetrolineError(f"{pattern} is the output's layer, which an adapter cannot change")
        for name in inner:
            if others := [other for other in shared[id(linears[name].weight)] if other != f"{name}.weight"]:
                raise MetrolineError(f"{name} has its weight in common with {', '.join(others)}")
        chosen |= inner
    return [name for name in linears if name in chosen]
