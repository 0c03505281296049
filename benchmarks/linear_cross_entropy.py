"""Head and cross-entropy in one op against computing all logits: time, and on a GPU peak memory (gate M5).

    python -m benchmarks.linear_cross_entropy

On a CPU: 4,096 tokens, 4,096 words, width 256, float32, against eager F.cross_entropy(F.linear(...)). On a GPU: 32,768
tokens, 50,304 words, width 768, bfloat16, against the same compiled (time) and eager (memory), and against
Liger-Kernel's where it is installed. Forward and backward.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks._gpu import Gate, maybe, median_ms, relative_error
from benchmarks._report import record, report
from kernels import linear_cross_entropy

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def plain(features: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """With every logit in memory."""
    return F.cross_entropy(F.linear(features, weight).float(), targets)


def liger() -> Loss:
    """Liger-Kernel's fused loss. Raises ImportError without it."""
    from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy

    return lambda features, weight, targets: liger_fused_linear_cross_entropy(features, weight, targets)


def step(loss: Loss, features: Tensor, weight: Tensor, targets: Tensor) -> Callable[[], Any]:
    """Forward and backward."""
    return lambda: torch.autograd.grad(loss(features, weight, targets), (features, weight))


def peak_bytes(function: Callable[[], Any]) -> int:
    """Most GPU memory that a call takes above what was there before."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    function()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def errors(features: Tensor, weight: Tensor, targets: Tensor, rows: int = 256) -> dict[str, float]:
    """Relative errors of our loss, and of its gradients by some rows of features and of the head, against float64."""
    loss = linear_cross_entropy(features, weight, targets)
    grad_features, grad_weight = torch.autograd.grad(loss, (features, weight))
    words = torch.randint(weight.shape[0], (rows,), device=weight.device)
    expected, wanted = torch.zeros((), dtype=torch.float64, device=weight.device), 0.0
    head = weight.detach().double()
    for start in range(0, targets.numel(), 2048):  # not every logit at once in float64
        part, answers = features[start : start + 2048].detach().double(), targets[start : start + 2048]
        log_p = torch.log_softmax(part @ head.t(), dim=-1)
        expected += F.nll_loss(log_p, answers, reduction="sum") / targets.numel()
        gradient = log_p.exp_()
        gradient[torch.arange(len(answers), device=answers.device), answers] -= 1
        wanted = wanted + gradient[:, words].t() @ part / targets.numel()
        if start == 0:
            wanted_features = gradient[:rows] @ head / targets.numel()
    assert isinstance(wanted, Tensor)
    return {
        "error": relative_error(loss, expected),
        "gradient_error": max(
            relative_error(grad_features[:rows], wanted_features), relative_error(grad_weight[words], wanted)
        ),
    }


def inputs(device: torch.device, *, small: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """features, weight, targets: random."""
    gpu = device.type == "cuda"
    tokens, vocab, width = (64, 300, 16) if small else (32_768, 50_304, 768) if gpu else (4096, 4096, 256)
    dtype = torch.bfloat16 if gpu else torch.float32
    features = torch.randn(tokens, width, device=device, dtype=dtype).requires_grad_()
    weight = (torch.randn(vocab, width, device=device, dtype=dtype) * 0.05).requires_grad_()
    return features, weight, torch.randint(vocab, (tokens,), device=device)


def gates(device: torch.device, *, small: bool = False) -> list[dict[str, Any]]:
    """M5: time against compiled eager, memory against eager."""
    tensors = inputs(device, small=small)
    fast = Gate("M5 head + loss / compiled eager", 1.0)
    mine = median_ms(step(linear_cross_entropy, *tensors), device)
    fast.add(mine, maybe(lambda: step(torch.compile(plain), *tensors), device))
    checked = errors(*tensors, rows=min(256, tensors[2].numel()))
    results = [fast.result() | checked | {"ms": mine, "liger_ms": maybe(lambda: step(liger(), *tensors), device)}]
    if device.type == "cuda":
        ours, theirs = (peak_bytes(step(loss, *tensors)) for loss in (linear_cross_entropy, plain))
        results.append(
            {"gate": "M5 peak memory", "ratio": ours / theirs, "accept": "<= 0.15", "ok": ours <= 0.15 * theirs}
        )
    for result in results:
        record(**result)
    return results


def main() -> None:
    """Measure and print the last line."""
    if torch.cuda.is_available():
        results = gates(torch.device("cuda"))
        ratio = results[0]["ratio"]
        report(
            name="linear_cross_entropy", value=results[0]["ms"], unit="ms", baseline=results[0]["ms"] * (ratio or 0),
            ratio=ratio, accept=">= 1 × compiled, memory <= 0.15", ok=all(result["ok"] for result in results),
        )  # fmt: skip
    device = torch.device("cpu")
    torch.manual_seed(0)
    tensors = inputs(device)
    ours, theirs = (
        min(median_ms(step(loss, *tensors), device) for _ in range(3)) for loss in (linear_cross_entropy, plain)
    )
    report(
        name="linear_cross_entropy", value=round(ours, 1), unit="ms", baseline=round(theirs, 1),
        ratio=round(ours / theirs, 3), accept="<= 1", ok=ours <= theirs,
    )  # fmt: skip


if __name__ == "__main__":
    main()
