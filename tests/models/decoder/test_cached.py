"""One exported graph for prefill and decode, in each of the three formats, equal to the model itself."""

import functools
import subprocess
import sys
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch

from models.decoder.cached import CachedDecoder
from models.decoder.model import Decoder
from tests.models.decoder.small_decoders import build, tokens

ROOT = Path(__file__).parents[3]
# first prompt's lengths, then how many tokens each later call adds (over a cache ONNX Runtime takes several in a
# batch of one only)
PLANS = [([7], [1, 1]), ([1], [1]), ([6, 6], [1]), ([9, 4, 1], [1, 1, 1]), ([5], [4, 1, 2])]


@pytest.fixture(scope="module", params=["qwen3", "gpt2", "multi-query"])
def exported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    wrapped = CachedDecoder(build(request.param))
    example, shapes = wrapped.example_inputs(), wrapped.dynamic_shapes()
    with torch.no_grad():
        program = torch.onnx.export(
            wrapped, example, dynamo=True, optimize=True, verbose=False, dynamic_shapes=shapes,
            input_names=wrapped.input_names, output_names=wrapped.output_names,
        )  # fmt: skip
        program.save(folder / "model.onnx")
        torch.export.save(torch.export.export(wrapped, example, dynamic_shapes=shapes), folder / "model.pt2")
        torch.jit.trace(wrapped, example, check_trace=False).save(folder / "model.ts")
    return wrapped, folder


@functools.cache  # loading a form takes longer than running it; none of them keeps anything from call to call
def runner(kind, wrapped, folder):
    if kind == "pt2":
        return torch.export.load(folder / "model.pt2").module()
    if kind == "ts":
        return torch.jit.load(folder / "model.ts")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    return lambda *inputs: [
        torch.from_numpy(out)
        for out in session.run(None, {n: t.numpy() for n, t in zip(wrapped.input_names, inputs, strict=True)})
    ]


@pytest.mark.parametrize("kind", ["onnx", "pt2", "ts"])
@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_prefill_and_decode_equal_the_model(exported, kind, plan):
    wrapped, folder = exported
    run, model = runner(kind, wrapped, folder), wrapped.model
    lengths, steps = torch.tensor(plan[0], dtype=torch.int32), plan[1]
    caches = {which: [t for pair in model.empty_cache(len(lengths)) for t in pair] for which in ("ours", "theirs")}
    for call, new in enumerate([int(lengths.max()), *steps]):
        if call:
            lengths = lengths + new
        ids, total = tokens(len(lengths), new, seed=call), torch.tensor(int(lengths.max()), dtype=torch.int32)
        valid = torch.arange(new) < (lengths[:, None] if call == 0 else new)  # padding's logits mean nothing
        real = valid.expand(len(lengths), new).flatten().nonzero().flatten().flip(0)  # in any order
        with torch.no_grad():
            ours = wrapped(ids, lengths - 1, total, real, *caches["ours"])
            theirs = run(ids, lengths - 1, total, real, *caches["theirs"])
        caches = {"ours": list(ours[1:]), "theirs": list(theirs[1:])}
        assert (ours[0] - theirs[0]).abs().max() < 1e-4
        assert [t.shape for t in ours] == [t.shape for t in theirs]


def test_the_onnx_graph_has_fused_attention_and_the_promised_names(exported):
    wrapped, folder = exported
    model = onnx.load(folder / "model.onnx")
    nodes = [node for node in model.graph.node if node.op_type == "GroupQueryAttention"]
    assert len(nodes) == wrapped.model.config.layers
    assert {node.domain for node in nodes} == {"com.microsoft"}
    assert not any(node.op_type == "Softmax" for node in model.graph.node)
    dims = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in [*model.graph.input, *model.graph.output]
    }
    config = wrapped.model.config
    assert dims["input_ids"] == ["batch", "sequence"]
    assert dims["seqlens_k"] == ["batch"]
    assert dims["total_sequence_length"] == []
    assert dims["past_key_values.1.value"] == ["batch", config.kv_heads, "past", config.head_dim]
    assert dims["logits_at"] == ["rows"]
    assert dims["logits"] == ["rows", config.vocab_size]
    assert list(dims) == [*wrapped.input_names, *wrapped.output_names]


@pytest.mark.parametrize(("style", "width", "multiple"), [("llama", 24, 16), ("gpt2", 12, 8)])
def test_a_head_size_that_onnxruntime_refuses_is_named_before_export(style, width, multiple):
    with pytest.raises(ValueError, match=f"a multiple of {multiple}, not {width}"):
        CachedDecoder(build(style, head_dim=width))


def test_onnxruntime_updates_a_shared_cache_in_place(exported):
    """Past and present in one buffer of the full context: what an engine does that decodes without copying."""
    wrapped, folder = exported
    model: Decoder = wrapped.model
    config = model.config
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    shape = (1, config.kv_heads, config.context, config.head_dim)
    buffers = [onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, "float32", "cpu", 0) for _ in range(4)]
    ids, done = tokens(1, 10), 0
    with torch.no_grad():
        expected = model(ids)
    for new in (6, 1, 1, 2):
        binding = session.io_binding()
        binding.bind_cpu_input("input_ids", ids[:, done : done + new].numpy())
        done += new
        binding.bind_cpu_input("seqlens_k", torch.tensor([done - 1], dtype=torch.int32).numpy())
        binding.bind_cpu_input("total_sequence_length", torch.tensor(done, dtype=torch.int32).numpy())
        binding.bind_cpu_input("logits_at", torch.arange(new).numpy())
        binding.bind_output("logits")
        for name, out, buffer in zip(wrapped.input_names[4:], wrapped.output_names[1:], buffers, strict=True):
            binding.bind_ortvalue_input(name, buffer)
            binding.bind_ortvalue_output(out, buffer)
        session.run_with_iobinding(binding)
        logits = torch.from_numpy(binding.copy_outputs_to_cpu()[0])
        assert (logits - expected[0, done - new : done]).abs().max() < 1e-4


def test_pt2_and_torchscript_load_without_our_code(exported):
    """A consumer of the bundle has torch and nothing of ours."""
    wrapped, folder = exported
    code = (
        "import sys, torch; torch.set_num_threads(1)\n"
        f"inputs = torch.load({str(folder / 'inputs.pt')!r})\n"
        f"a = torch.export.load({str(folder / 'model.pt2')!r}).module()(*inputs)[0]\n"
        f"b = torch.jit.load({str(folder / 'model.ts')!r})(*inputs)[0]\n"
        "assert 'kernels' not in sys.modules and 'models' not in sys.modules\n"
        "print(float((a - b).abs().max()), *a.shape)"
    )
    torch.save(wrapped.example_inputs(batch=1, past=0, new=3), folder / "inputs.pt")
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    difference, *shape = done.stdout.split()
    assert float(difference) < 1e-5
    assert shape == ["2", "61"]
