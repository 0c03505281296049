"""`kernels.attention` in exported ONNX graphs: ONNX Runtime gives the same numbers at lengths that were not traced.

The cached form, which a release serves, has its own translation and test (`test_cached.py`).
"""

import onnxruntime
import pytest
import torch

import kernels
from tests.kernels.attention.cases import Case, relative


class Encoder(torch.nn.Module):
    def forward(self, q, k, v, real):
        return kernels.attention(q, k, v, causal=False, key_padding=real)


class Windowed(torch.nn.Module):
    def forward(self, q, k, v, starts):
        return kernels.attention(q, k, v, cu_seqlens_q=starts, window=6, sinks=torch.tensor([0.3, -0.2]), softcap=9.0)


def tensors(length, batch=1):
    made = Case(length=length, batch=batch, heads=2, kv_heads=1).tensors(seed=length)
    return [made[name] for name in "qkv"]


def export(module, inputs, shapes, path):
    names = ["q", "k", "v", "last"]
    with torch.no_grad():
        torch.onnx.export(
            module.eval(), tuple(inputs), path, dynamo=True, input_names=names, dynamic_shapes=shapes, verbose=False
        )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda *feed: torch.from_numpy(
        session.run(None, {name: x.numpy() for name, x in zip(names, feed, strict=True)})[0]
    )


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_bidirectional_with_padding(tmp_path):
    batch, length = torch.export.Dim("batch", max=64), torch.export.Dim("length", max=512)
    real = torch.arange(9)[None] < torch.tensor([9, 5])[:, None]
    shapes = ({0: batch, 1: length},) * 4
    run = export(Encoder(), [*tensors(9, batch=2), real], shapes, tmp_path / "model.onnx")
    for count, size in ((3, 17), (2, 40)):
        feed = [*tensors(size, batch=count), torch.arange(size)[None] < torch.tensor([size, 5, 1])[:count, None]]
        assert relative(run(*feed), Encoder()(*feed)) < 2e-6


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_packed_documents_with_window_sinks_and_softcap(tmp_path):
    length, documents = torch.export.Dim("length", max=512), torch.export.Dim("documents", max=64)
    starts = torch.tensor([0, 4, 9], dtype=torch.int32)
    shapes = ({1: length},) * 3 + ({0: documents},)
    run = export(Windowed(), [*tensors(9), starts], shapes, tmp_path / "model.onnx")
    for ends in ([0, 17], [0, 1, 1, 30, 40]):
        feed = [*tensors(ends[-1]), torch.tensor(ends, dtype=torch.int32)]
        assert relative(run(*feed), Windowed()(*feed)) < 2e-6
