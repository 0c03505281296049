"""What does a base in four bits save, and what does it cost? LoRA and QLoRA on the same chats, in turn.

    metroline stage prepare smollm2-sft && python -m benchmarks.qlora [--steps 20] [--rows 4] [--tests 110]

SmolLM2-135M-Instruct; the rows of smollm2-sft's train split in their order; LoRA of rank 16, α 32 on all products,
AdamW 2e-4 constant, float32, from the same first matrices. The value is how much higher QLoRA's loss on the test chats
is than LoRA's; the ratio is the adapted layers' weights in bytes, to float32. Recorded beside: the loss of the base
before either, in float32 and in four bits, the bytes of the whole network, and seconds a step.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._report import record, report
from benchmarks.sft_curve import ALPHA, CHECKPOINT, PREPARED, RANK, RATE

ACCEPT_BYTES, ACCEPT_LOSS = 0.2, 0.02


def run(quantized: bool, steps: int, rows: int, tests: int) -> dict[str, Any]:
    """Train an adapter; loss before and after, bytes and seconds."""
    from data.text.shards import Shards
    from models.adapters import Form, attach
    from models.decoder.huggingface import HEAD, load
    from pipelines.recipe.train_section import TrainConfig
    from pipelines.tasks.instruction.rows import rows_of
    from pipelines.tasks.language_modelling.learner import NextToken
    from pipelines.training.optimizers import build

    train, test = Shards(PREPARED, "train"), Shards(PREPARED, "test")
    network = load(CHECKPOINT)
    form = Form(RANK, float(ALPHA), quantized=quantized)
    attach(network, form, ["*"], torch.Generator().manual_seed(1), (HEAD,))
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    (optimizer,) = build(TrainConfig(lr=RATE, weight_decay=0.0), network, (HEAD,), bf16_units=False)
    before = loss_of(network, test, tests)
    objective, began = NextToken(network, 0.0).train(), time.perf_counter()
    for step in range(steps):
        chats = [[chat % len(train)] for chat in range(rows * step, rows * (step + 1))]
        made = rows_of(train, chats, 512, torch.device("cpu"))
        loss = objective(made.tokens, made.targets, cu_seqlens=made.cu_seqlens) / (made.targets >= 0).sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    seconds = (time.perf_counter() - began) / steps
    return {"quantized": quantized, "before": before, "test_loss": loss_of(network, test, tests),
            "step_seconds": seconds, **sizes(network)}  # fmt: skip


def loss_of(network: Any, test: Any, tests: int) -> float:
    """Nats a target of the first test chats."""
    from base.progress import Progress
    from pipelines.tasks.instruction.gain import chat_losses

    tests = min(tests, len(test))
    with Progress("test", tests, "chats") as progress:
        nats = chat_losses(network.eval(), test, [[chat] for chat in range(tests)], 512, 8, progress)
    targets = sum(int(test.mask_at(int(test.offsets[c]), int(test.offsets[c + 1] - test.offsets[c])).sum())
                  for c in range(tests))  # fmt: skip
    return float(nats[:tests].sum() / targets)


def sizes(network: Any) -> dict[str, int]:
    """Bytes of the adapted layers' frozen weights, of these in float32, and of all frozen weights."""
    from models.adapters import adapted

    layers = adapted(network).values()
    packed = [layer.packed().bytes if layer.form.quantized else 4 * layer.weight.numel() for layer in layers]
    frozen = {id(weight): weight.numel() * weight.element_size()
              for weight in network.parameters() if not weight.requires_grad}  # fmt: skip
    return {"layer_bytes": sum(packed), "float32_bytes": sum(4 * x.in_features * x.out_features for x in layers),
            "frozen_bytes": sum(frozen.values())}  # fmt: skip


def main() -> None:
    """Both, and what differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rows", type=int, default=4, help="chats a step")
    parser.add_argument("--tests", type=int, default=110, help="test chats")
    options = parser.parse_args()
    for path in (CHECKPOINT, Path(PREPARED)):
        if not path.is_dir():
            report(name="qlora", skipped=f"needs {path}: metroline run smollm2-sft", ok=True)
    found = []
    for quantized in (False, True):
        found.append(run(quantized, options.steps, options.rows, options.tests))
        record(**found[-1])
    lora, qlora = found
    more = qlora["test_loss"] / lora["test_loss"] - 1
    ratio = qlora["layer_bytes"] / qlora["float32_bytes"]
    report(
        name="qlora", value=round(more, 5), unit="of the loss", baseline=lora["test_loss"], ratio=round(ratio, 4),
        accept=f"loss <= +{ACCEPT_LOSS:.0%}, bytes <= {ACCEPT_BYTES}",
        ok=bool(np.isfinite(more) and more <= ACCEPT_LOSS and ratio <= ACCEPT_BYTES),
    )  # fmt: skip


if __name__ == "__main__":
    main()
