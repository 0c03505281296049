"""A training step of GPT-2 124M on a GPU with our attention against the same step with PyTorch's SDPA.

    python -m benchmarks.gpt2_step

12 layers, width 768, 12 heads, 50,304 words, 16 × 1,024 tokens, bfloat16 autocast, compiled, AdamW. Reports tokens/s
and the share of the GPU's peak that the model's arithmetic reaches (MFU; the aim is 0.5 on an H200). Without a GPU it
says so and measures nothing.
"""

from types import SimpleNamespace
from typing import Any

import torch

import models.decoder.model
from benchmarks._gpu import median_ms, need_gpu
from benchmarks._report import record, report
from kernels import attention, linear_cross_entropy
from models.decoder.model import Decoder

BATCH, LENGTH = 16, 1024
PEAK = {"H100": 989e12, "H200": 989e12, "B200": 2250e12, "A100": 312e12, "MI300": 1307e12}  # dense bfloat16, datasheets


GPT2 = SimpleNamespace(  # a `DecoderConfig`, which needs pydantic
    vocab_size=50_304, context=LENGTH, layers=12, heads=12, kv_heads=12, width=768, head_dim=64, positions="learned",
    norm="layernorm", activation="gelu", hidden=3072, qk_norm=False, tied=True, bias=True, rope_theta=10_000.0,
    norm_eps=1e-5, dropout=0.0, init_std=0.02, residual_init="scaled",
)  # fmt: skip


def step_ms(
    backend: str, device: torch.device, config: Any = GPT2, batch: int = BATCH, compiler: str = "inductor"
) -> tuple[float, Decoder]:
    """Median milliseconds of a whole step with an attention backend; torch.compile's backend is `compiler`."""
    original = models.decoder.model.attention
    models.decoder.model.attention = lambda q, k, v, **options: attention(q, k, v, **options, backend=backend)
    try:
        model = Decoder(config, torch.Generator().manual_seed(0)).to(device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=True)
        tokens = torch.randint(config.vocab_size, (batch, config.context + 1), device=device)

        def loss() -> torch.Tensor:
            with torch.autocast(device.type, torch.bfloat16):
                features = model.features(tokens[:, :-1])
            return linear_cross_entropy(features.bfloat16(), model.head_weight, tokens[:, 1:])

        compiled = torch.compile(loss, fullgraph=True, backend=compiler)

        def step() -> None:
            compiled().backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        return median_ms(step, device), model
    finally:
        models.decoder.model.attention = original
        torch.compiler.reset()


def main() -> None:
    """Measure and print the last line."""
    device = need_gpu("gpt2_step")
    torch.set_float32_matmul_precision("high")
    times = {}
    for backend in ("triton", "sdpa", "triton"):  # ours twice: the spread is part of the answer
        milliseconds, model = step_ms(backend, device)
        times[backend] = max(times.get(backend, 0.0), milliseconds)
        record(backend=backend, ms=round(milliseconds, 2))
    tokens = BATCH * LENGTH / times["triton"] * 1e3
    name = torch.cuda.get_device_name(device)
    peak = next((value for key, value in PEAK.items() if key in name), None)
    mfu = None if peak is None else round(tokens * model.flops_per_token(LENGTH) / peak, 3)
    ratio = times["sdpa"] / times["triton"]
    report(
        name="gpt2_step", value=round(tokens), unit="tokens/s", baseline=round(BATCH * LENGTH / times["sdpa"] * 1e3),
        ratio=round(ratio, 3), accept=">= 1.0", ok=ratio >= 1.0, mfu=mfu,
    )  # fmt: skip


if __name__ == "__main__":
    main()
