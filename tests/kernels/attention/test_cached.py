"""Attention over a cache: SDPA against plain attention, and the ONNX translation against both."""

import onnxruntime
import pytest
import torch

import kernels
from kernels import cached_attention, positions_of, rotary_tables, rotate


def inputs(batch, new, past, heads=4, kv_heads=2, width=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((batch, new, heads, width), (batch, new, kv_heads, width), (batch, new, kv_heads, width))
    caches = ((batch, kv_heads, past, width),) * 2
    return [torch.randn(shape, generator=generator) for shape in (*shapes, *caches)]


@pytest.mark.parametrize("rope", [False, True])
@pytest.mark.parametrize("lengths", [[9, 9], [9, 5], [4, 9]])
def test_equals_attention_over_each_row(lengths, rope):
    """A row with fewer tokens ignores the end of its cache and has its new tokens right behind its own."""
    new, past = 3, 6
    q, k, v, past_k, past_v = inputs(2, new, past)
    cos, sin = rotary_tables(16, 16, 100.0)
    length = torch.tensor(lengths)
    tables = {"cos": cos, "sin": sin} if rope else {}
    out, present_k, present_v = cached_attention(q, k, v, past_k, past_v, length, **tables)
    assert present_k.shape == present_v.shape == (2, 2, past + new, 16)
    for row, total in enumerate(lengths):
        old = total - new
        here = (cos[old:total, None], sin[old:total, None])
        new_q, new_k = (rotate(q[row], *here), rotate(k[row], *here)) if rope else (q[row], k[row])
        keys = torch.cat([past_k[row, :, :old].transpose(0, 1), new_k])
        values = torch.cat([past_v[row, :, :old].transpose(0, 1), v[row]])
        expected = kernels.attention(new_q[None], keys[None], values[None])
        assert (out[row] - expected[0]).abs().max() < 1e-5
        assert torch.allclose(present_k[row, :, :total].transpose(0, 1), keys)


def test_positions():
    assert positions_of(torch.tensor([5, 2, 9]), 3).tolist() == [[2, 3, 4], [0, 1, 2], [6, 7, 8]]


def test_cos_and_sin_come_together():
    with pytest.raises(ValueError, match="come together"):
        cached_attention(*inputs(1, 1, 1), torch.tensor([2]), cos=torch.zeros(4, 8))


class Step(torch.nn.Module):
    def __init__(self, rope, scale):
        super().__init__()
        self.scale = scale
        self.tables = dict(zip(("cos", "sin"), rotary_tables(64, 16, 100.0), strict=True)) if rope else {}

    def forward(self, q, k, v, past_k, past_v, lengths, total):
        return cached_attention(q, k, v, past_k, past_v, lengths, total=total, scale=self.scale, **self.tables)


@pytest.mark.parametrize(("heads", "kv_heads", "rope", "scale"), [(4, 4, False, None), (4, 1, True, 0.3)])
def test_onnx_translation(heads, kv_heads, rope, scale, tmp_path):
    module = Step(rope, scale).eval()
    names = ["q", "k", "v", "past_k", "past_v", "lengths", "total"]
    batch, new, past = (torch.export.Dim(n, max=64) for n in ("batch", "new", "past"))
    lengths, total = torch.tensor([5, 5], dtype=torch.int32), torch.tensor(5, dtype=torch.int32)
    with torch.no_grad():
        torch.onnx.export(
            module, (*inputs(2, 3, 2, heads, kv_heads), lengths, total), tmp_path / "m.onnx", dynamo=True,
            input_names=names, verbose=False,
            dynamic_shapes=({0: batch, 1: new},) * 3 + ({0: batch, 2: past},) * 2 + ({0: batch}, None),
        )  # fmt: skip
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    for batch_size, step, cached in ((3, 7, 0), (1, 1, 5), (4, 1, 9), (1, 4, 3)):
        tensors = inputs(batch_size, step, cached, heads, kv_heads, seed=step)
        count = torch.full((batch_size,), step + cached, dtype=torch.int32)
        feed = [*tensors, count, torch.tensor(step + cached, dtype=torch.int32)]
        got = session.run(None, {n: t.numpy() for n, t in zip(names, feed, strict=True)})
        for a, b in zip(got, module(*feed), strict=True):
            assert (torch.from_numpy(a) - b).abs().max() < 1e-5
