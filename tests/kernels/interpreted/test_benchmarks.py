"""The GPU benchmarks at sizes for the interpreter: that they run, check what they time, and report every gate.

Their ratios mean nothing here; on a GPU the same code measures.
"""

import pytest
import torch

import kernels
import models.decoder.model
from benchmarks import _attention, attention, gpt2_step
from benchmarks._gpu import Gate
from models.decoder.config import DecoderConfig


def test_every_gate_is_measured_or_says_that_it_is_not(monkeypatch, tmp_path):
    def absent(*_):
        raise NotImplementedError("FlexAttention is compiled, which takes long on a CPU")

    monkeypatch.setattr(_attention, "flex", absent)
    result = attention.measure(torch.device("cpu"), small=True)
    gates = {gate["gate"]: gate for gate in result["gates"]}
    assert {name.split()[0] for name in gates} >= {"M1", "M2", "M3", "M5", "M6"}
    assert gates["gradients equal to the bit over 10 runs"]["ok"] is True
    assert gates["relative error under 0.02 at every timed shape"]["ok"] is True
    assert gates["M1 forward / FlashAttention-2"]["ratio"] > 0  # PyTorch has a flash kernel for CPUs
    assert gates["M1 forward / cuDNN, D = 64"]["ok"] is None  # not measured is not passed
    assert gates["M3 forward + backward / FlexAttention"]["ok"] is None
    assert all(line["error"] < 0.02 for line in result["lines"])
    attention.draw(result, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000


@pytest.mark.parametrize("backend", ["triton", "sdpa"])
def test_a_training_step_compiles_in_one_graph(backend):
    config = DecoderConfig(
        vocab_size=64, context=32, layers=2, heads=2, width=64, positions="learned", norm="layernorm",
        activation="gelu", bias=True,
    )  # fmt: skip
    milliseconds, model = gpt2_step.step_ms(backend, torch.device("cpu"), config, batch=2, compiler="aot_eager")
    assert milliseconds > 0
    assert model.flops_per_token(32) > 6 * 64 * 64
    assert models.decoder.model.attention is kernels.attention


def test_the_step_is_that_of_a_whole_configuration():
    config = DecoderConfig(
        vocab_size=50_304, context=1024, layers=12, heads=12, width=768, positions="learned", norm="layernorm",
        activation="gelu", bias=True,
    )  # fmt: skip
    assert vars(gpt2_step.GPT2) == config.model_dump(exclude={"kind"})


def test_a_gate_is_a_geometric_mean():
    gate = Gate("x", 1.0)
    gate.add(2.0, 4.0)
    gate.add(4.0, 2.0)
    gate.add(1.0, None)
    assert gate.result() == {"gate": "x", "ratio": 1.0, "worst": 0.5, "accept": ">= 1.0", "ok": True}
    assert Gate("x", 1.0).result()["ok"] is None
