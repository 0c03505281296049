"""Decoding over a paged cache: what share of the GPU's copy bandwidth it reads keys and values with (gate M6).

    python -m benchmarks.paged_attention

One token for each of B sequences of 4,096 tokens, 32 query and 8 key heads of 128, pages of 16 tokens, bfloat16. The
baseline is a large device-to-device copy, bytes read plus bytes written. Without a GPU it says so and measures nothing.
"""

from typing import Any

import torch

from benchmarks._gpu import median_ms, need_gpu, relative_error
from benchmarks._report import record, report
from kernels import paged_attention

ACCEPT = 0.7


def copy_bandwidth(device: torch.device, count: int) -> float:
    """Bytes per second of copying `count` bytes."""
    source = torch.empty(count, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * count / median_ms(lambda: target.copy_(source), device) * 1e3


def gates(device: torch.device, *, small: bool = False) -> list[dict[str, Any]]:
    """M6, at several batch sizes."""
    length, heads, kv_heads, width, page = (64, 2, 1, 32, 16) if small else (4096, 32, 8, 128, 16)
    copy = copy_bandwidth(device, 1 << 12 if small else 1 << 31)
    results = []
    for batch in (2,) if small else (8, 32, 128):
        pages = batch * length // page
        k, v = (torch.randn(pages, page, kv_heads, width, device=device, dtype=torch.bfloat16) for _ in range(2))
        q = torch.randn(batch, heads, width, device=device, dtype=torch.bfloat16)
        table = torch.randperm(pages, device=device).view(batch, -1).int()
        lengths = torch.full((batch,), length, dtype=torch.int32, device=device)
        milliseconds = median_ms(lambda: paged_attention(q, k, v, table, lengths, backend="triton"), device)  # noqa: B023
        ours = 2 * k.numel() * k.element_size() / milliseconds * 1e3
        some = [0, batch - 1]  # float64 of every row would not fit
        error = relative_error(
            paged_attention(q, k, v, table, lengths, backend="triton")[some],
            paged_attention(q[some], k, v, table[some], lengths[some], backend="reference"),
        )
        results.append(
            {
                "gate": f"M6 decoding, B = {batch}, share of copy bandwidth", "ratio": ours / copy, "ms": milliseconds,
                "copy_bytes_per_s": copy, "error": error, "accept": f">= {ACCEPT}",
                "ok": ours >= ACCEPT * copy and error < 2e-2,
            }
        )  # fmt: skip
        record(**results[-1])
    return results


def main() -> None:
    """Measure and print the last line."""
    results = gates(need_gpu("paged_attention"))
    worst = min(results, key=lambda result: float(result["ratio"]))
    report(
        name="paged_attention", value=worst["ratio"], unit="of copy bandwidth", baseline=1.0, ratio=worst["ratio"],
        accept=f">= {ACCEPT}", ok=all(result["ok"] for result in results),
    )  # fmt: skip


if __name__ == "__main__":
    main()
