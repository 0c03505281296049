"""The same numbers lying differently in memory: transposed, sliced, offset, repeated.

What lies between a tensor's numbers is poison, so that a kernel that steps over memory in another way than the strides
say is wrong or not finite. `layout_checks` draws a layout for every tensor argument of every operator.
"""

import math
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

from tests.kernels.attention.cases import relative

DEVIATION = 8e-6  # float32, of outputs and of gradients that are sums over all rows


@dataclass(frozen=True)
class Layout:
    """Where a tensor's numbers lie: the order of its dimensions in memory, steps, an offset, repeated dimensions."""

    order: tuple[int, ...] = (0, 1, 2, 3)  # rank of each dimension, outermost first
    steps: tuple[int, ...] = (1, 1, 1, 1)  # each dimension is every step-th entry of a larger one
    offset: int = 0
    expanded: int | None = None  # this dimension repeats its first entry, stride 0

    def of(self, x: Tensor) -> Tensor:
        """`x` in this layout; with `expanded` also other numbers."""
        kept = x
        if self.expanded is not None and self.expanded < x.dim():
            kept = x.narrow(self.expanded, 0, 1)
        order = sorted(range(x.dim()), key=self.order.__getitem__)
        sizes = [kept.shape[d] * self.steps[d] for d in order]
        poison = torch.nan if x.dtype.is_floating_point else 0
        memory = torch.full((self.offset + math.prod(sizes),), poison, dtype=x.dtype)
        if x.dtype == torch.bool:
            memory.fill_(True)
        every = memory[self.offset :].view(sizes)[tuple(slice(None, None, self.steps[d]) for d in order)]
        placed = every.permute([order.index(d) for d in range(x.dim())])
        placed.copy_(kept)
        return placed.expand(x.shape)


LAYOUTS = st.builds(
    Layout,
    order=st.permutations(range(4)).map(tuple),
    steps=st.tuples(*[st.sampled_from([1, 1, 2, 3])] * 4),
    offset=st.integers(0, 3),
    expanded=st.none() | st.none() | st.integers(0, 3),
)
# A part's own layout in half of the cases, so that a failure shrinks to the tensor that is read wrongly.
PLAIN_OR_NOT = st.just(Layout()) | LAYOUTS


def laid_out(data: st.DataObject, tensors: dict[str, Tensor], fixed: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """Each tensor in a drawn layout; those named in `fixed` keep their numbers, so they are never repeated."""
    out = {}
    for name, tensor in tensors.items():
        layout = data.draw(PLAIN_OR_NOT, label=name)
        if name in fixed:
            layout = Layout(layout.order, layout.steps, layout.offset)
        out[name] = layout.of(tensor)
    return out


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def exact(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies, floating-point ones in float64."""
    return {n: (t.double() if t.dtype.is_floating_point else t).contiguous() for n, t in tensors.items()}


def agree(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Outputs and gradients by name: equal to `DEVIATION`, infinite in the same places."""
    assert actual.keys() == expected.keys()
    for name, wanted in expected.items():
        got = actual[name]
        infinite = torch.isinf(wanted)
        assert torch.equal(got[infinite].double(), wanted[infinite].double()), name
        error = relative(got[~infinite], wanted[~infinite]) if (~infinite).any() else 0.0
        assert error <= DEVIATION, f"{name}: {error:.1e}"
