"""The attention kernels on a GPU against FlashAttention-2, cuDNN, FlexAttention and varlen_attn, all in one process.

    python -m benchmarks.attention                     # writes benchmarks/results/attention-<device>.json and .png

Gates (each a geometric mean of the baseline's time over ours): M1 dense attention, M2 packed documents, M3 windows over
documents, M5 the fused head and loss, M6 decoding over a paged cache; and that gradients are equal to the bit over 10
runs, and that every timed shape is right against float64. Medians of what the GPU takes, without the host's launches;
fresh random inputs. M4, a second forward kernel in Gluon, has not been written. Without a GPU it says so and measures
nothing.
"""

import datetime
import re
from pathlib import Path
from typing import Any

import torch

from base.files import atomic_path, write_json
from benchmarks import _attention, linear_cross_entropy, paged_attention
from benchmarks._gpu import Gate, need_gpu, versions
from benchmarks._report import record, report, say

RESULTS = Path(__file__).parent / "results"
ERROR = 2e-2  # relative, bfloat16


def measure(device: torch.device, *, small: bool = False) -> dict[str, Any]:
    """All gates. `small`: sizes that a test can run in the interpreter, on a CPU."""
    tokens = 16_384 if not small else 64
    lengths = [512, 1024, 2048, 4096, 8192, 16_384] if not small else [64]
    packed, windowed = (65_536, 8192) if not small else (64, 64)
    torch.manual_seed(0)
    lines: list[dict[str, Any]] = []
    gates: list[dict[str, Any]] = []
    runs = (
        _attention.dense(device, tokens, lengths),
        _attention.packed(device, packed, [128, 256, 512] if not small else [32]),
        _attention.packed(device, windowed, [2048] if not small else [32], window=512 if not small else 16),
    )
    for run in runs:
        for item in run:
            if isinstance(item, Gate):
                gates.append(item.result())
                record(**gates[-1])
            else:
                lines.append(item)
                record(**item)
    gates += linear_cross_entropy.gates(device, small=small)
    gates += paged_attention.gates(device, small=small)
    same = _attention.deterministic(device, packed)
    right = all(line[key] < ERROR for line in [*lines, *gates] for key in ("error", "gradient_error") if key in line)
    for gate, ok in (
        ("gradients equal to the bit over 10 runs", same),
        (f"relative error under {ERROR} at every timed shape", right),
    ):
        gates.append({"gate": gate, "ok": ok})
        record(**gates[-1])
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        **versions(device),
        "gates": gates,
        "lines": lines,
    }


def draw(result: dict[str, Any], path: Path) -> None:
    """Forward and backward TFLOP/s of dense causal attention over length."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
    for axis, width in zip(axes, (64, 128), strict=True):
        for part in ("forward", "backward"):
            lines = [x for x in result["lines"] if x["gate"] == "M1" and x["D"] == width and x["causal"]]
            axis.plot([x["S"] for x in lines], [x[f"{part}_tflops"] for x in lines], "o-", label=f"ours, {part}")
            for name, style in (("flash", "--"), ("cudnn", ":")):
                points = [(x["S"], x[f"{part}_tflops"] * x[f"{part}_ms"] / x[f"{part}_{name}_ms"])
                          for x in lines if x.get(f"{part}_{name}_ms")]  # fmt: skip
                if points:
                    axis.plot(*zip(*points, strict=True), style, label=f"{name}, {part}")
        axis.set(title=f"causal, D = {width}", xlabel="length", xscale="log")
        axis.legend(fontsize=7)
    axes[0].set_ylabel("TFLOP/s")
    figure.suptitle(f"{result['device']}, {result['date']}")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120, bbox_inches="tight")
    plt.close(figure)


def main() -> None:
    """Measure, write the result and the plot, and print the last line."""
    device = need_gpu("attention")
    result = measure(device)
    short = re.sub(r"[^a-z0-9]+", "-", result["device"].lower().removeprefix("nvidia ")).strip("-")
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / f"attention-{short}.json", result)
    try:
        draw(result, RESULTS / f"attention-{short}.png")
    except ImportError as error:
        say(f"no plot: {error}")
    first = next(gate for gate in result["gates"] if gate["gate"].startswith("M1 forward / Flash"))
    failed = [gate["gate"] for gate in result["gates"] if not gate["ok"]]
    report(
        name="attention", value=first["ratio"], unit="× FlashAttention-2's forward speed", baseline=1.0,
        ratio=first["ratio"], accept="every gate", ok=not failed, failed=failed,
    )  # fmt: skip


if __name__ == "__main__":
    main()
