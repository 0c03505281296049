"""The kernels follow strides: every tensor argument transposed, sliced, offset, repeated, against float64."""

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernels.attention import op as attention_op
from kernels.attention.packing import with_ranges
from tests.kernels.layout_checks import check_attention, check_loss, check_paged
from tests.kernels.layouts import laid_out, normal

some = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@settings(some, max_examples=12)
@given(data=st.data())
def test_attention(data):
    check_attention(data, "triton")


@settings(some, max_examples=15)
@given(data=st.data())
def test_paged_attention(data):
    check_paged(data, "triton")


@settings(some, max_examples=15)
@given(data=st.data())
def test_linear_cross_entropy(data):
    check_loss(data, "triton")


@settings(some, max_examples=6)
@given(data=st.data())
def test_the_operators_by_themselves(data):
    """What `kernels.attention.api` makes for them, and what the forward pass saved, may have been moved by a caller."""
    q, k, v, grad, grad_lse = (normal(i, 1, 9, 2, 32) for i in range(5))
    starts, key_starts = (torch.tensor(borders, dtype=torch.int32) for borders in ([1, 4, 9], [0, 6, 8]))
    packing = with_ranges(starts, key_starts, 9, 9)
    numbers = (*[None] * 4, 0.0, True, 0, 0.2, 0.0)

    def extras(tensors):
        return (None, None, tensors["ranges_q"], tensors["ranges_k"], *numbers)

    tensors = {"q": q, "k": k, "v": v, "ranges_q": packing.ranges_q, "ranges_k": packing.ranges_k}
    out, lse = attention_op.attention(q, k, v, *extras(tensors))
    tensors |= {"grad": grad, "grad_lse": grad_lse[..., 0].transpose(1, 2), "out": out, "lse": lse}
    tensors = laid_out(data, tensors, fixed=("ranges_q", "ranges_k"))

    def run(tensors):
        forward = [tensors[n] for n in ("q", "k", "v")]
        saved = [tensors[n] for n in ("grad", "grad_lse", "q", "k", "v", "out", "lse")]
        return (
            *attention_op.attention(*forward, *extras(tensors)),
            *attention_op.attention_backward(*saved, *extras(tensors)),
        )

    wanted = run({name: tensor.contiguous() for name, tensor in tensors.items()})
    assert all(torch.equal(a, b) for a, b in zip(run(tensors), wanted, strict=True))


def test_the_operators_are_sound_on_strided_tensors():
    q, k, v, cos, sin = (normal(i, 1, 9, 2, 64)[..., ::2].requires_grad_() for i in range(5))
    cos, sin = cos.detach()[0, :, 0, ::2].t()[None], sin.detach()[:, :, 1, :16].expand(1, -1, -1)
    small = normal(5, 2, 3)
    torch.library.opcheck(
        attention_op.attention,
        (q, k, v, small[:, 0], small[:, 1], None, None, None, None, None, None, 0.0, True, 0, 0.2, 0.0),
    )
