"""How soon does a model taught here answer as well as one that TRL's SFTTrainer has taught for two epochs?

    metroline stage prepare smollm2-sft && python -m benchmarks.sft_speed [--peer PYTHON] [--epochs 2]

TRL trains LoRA of rank 16, α 32 on all products of SmolLM2-135M-Instruct as in `sft_curve`: 8 chats a step, AdamW 2e-4
constant, float32. Ours is recipe smollm2-sft as it is (packed rows, its own rate and schedule, the machine's
precision). The value is the seconds of our training steps until the loss on the test split is no higher than TRL's at
its end; it is looked at every 5 steps, which does not count, nor do TRL's loading and its own test.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from base.progress import Progress
from benchmarks._report import record, report
from benchmarks._trl import BATCH, CHECKPOINT, options
from benchmarks.sft_curve import PREPARED, trl
from data.text.shards import Shards
from pipelines.recipe.load import load as load_recipe
from pipelines.tasks.instruction.gain import chat_losses
from pipelines.tasks.instruction.learner import Instruction
from pipelines.tasks.instruction.packing import pack
from pipelines.tasks.instruction.rows import inputs
from pipelines.training import device as machine
from pipelines.training.adapter import network_of
from pipelines.training.optimizers import build, set_rate
from pipelines.training.order import Order
from pipelines.training.schedule import rate, shape

ACCEPT, AIM, EVERY = 0.5, 0.33, 5


def ours(wanted: float) -> dict[str, Any]:
    """Train the recipe until its test loss is at most `wanted`, or to its end; {seconds, steps, test_loss}."""
    recipe, cpu = load_recipe("smollm2-sft", Path()), torch.device("cpu")
    config, test = recipe.train, Shards(PREPARED, "test")
    learner = Instruction(recipe, PREPARED, CHECKPOINT)
    network = network_of(learner, config, torch.Generator().manual_seed(config.seed))
    objective, order = learner.objective(network), Order(learner.examples, config.seed)
    optimizers = build(config, network, learner.outer, bf16_units=machine.bf16_units(cpu))
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    precision = machine.precision(config.precision, cpu)
    rows, targets, seconds, loss = pack(inputs(test).tolist(), 256, 0), int(test.entry["targets"]), 0.0, float("inf")
    for step in range(config.steps):
        began = time.perf_counter()
        plan = shape(config, step)
        batch = learner.batch(*order.take(plan.first, plan.windows), plan.sequence, cpu)
        set_rate(optimizers, rate(config, step))
        with machine.autocast(cpu, precision):
            objective.train()
            value = objective(**batch.inputs) / batch.targets
        value.backward()
        torch.nn.utils.clip_grad_norm_(weights, config.clip)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        seconds += time.perf_counter() - began
        if (step + 1) % EVERY == 0 or step + 1 == config.steps:
            with Progress("test", len(test), "chats") as progress:
                nats = chat_losses(network.eval(), test, rows, 256, BATCH, progress)
            loss = float(np.sum(nats) / targets)
            record(which="ours", step=step + 1, seconds=seconds, test_loss=loss)
            if loss <= wanted:
                break
    return {"seconds": seconds, "steps": step + 1, "test_loss": loss, "precision": precision}


def main() -> None:
    """Measure, and print the result."""
    asked = options("sft_speed", PREPARED, epochs=2.0)  # of TRL's; less: a short trial
    steps = round(asked.epochs * len(Shards(PREPARED, "train")) / BATCH)
    with tempfile.TemporaryDirectory() as name:
        theirs = trl(asked.peer, Path(name), steps)
    record(which="trl", steps=steps, seconds=theirs["seconds"], test_loss=theirs["test_loss"])
    found = ours(theirs["test_loss"])
    ratio = found["seconds"] / theirs["seconds"]
    report(
        name="sft_speed", value=found["seconds"], unit=f"seconds to a test loss of {theirs['test_loss']:.4f}",
        baseline=theirs["seconds"], ratio=ratio, steps=found["steps"], test_loss=found["test_loss"],
        precision=found["precision"], threads=torch.get_num_threads(), accept=f"<= {ACCEPT} (aim {AIM})",
        ok=ratio <= ACCEPT and found["test_loss"] <= theirs["test_loss"],
    )  # fmt: skip


if __name__ == "__main__":
    main()
