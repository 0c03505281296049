"""How much memory does a step of training an adapter take, beside PEFT on `transformers`?

    metroline stage train smollm2 && python -m benchmarks.sft_memory [CHECKPOINT]

LoRA of rank 8 on all seven products of SmolLM2-135M, 8 sequences of 512 tokens, float32, AdamW, one step, each in a
process of its own. The value is ours, the most memory the process held (peak resident set), in MB; the ratio is to the
peer's. The same with activations recomputed is recorded too. It needs the `peers` extra (make peers).
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch

from benchmarks._report import record, report
from benchmarks.peft_parity import CHECKPOINT

BATCH, LENGTH = 8, 512
ACCEPT = 0.6


def tokens() -> torch.Tensor:
    """[BATCH, LENGTH + 1] made-up token ids."""
    return torch.randint(0, 49_000, (BATCH, LENGTH + 1), generator=torch.Generator().manual_seed(0))


def ours(checkpoint: Path, recompute: bool = False) -> float:
    """One step as the trainer makes it; returns its loss per token."""
    from models.adapters import Form, attach
    from models.decoder.huggingface import HEAD, load
    from pipelines.recipe.train_section import TrainConfig
    from pipelines.tasks.language_modelling.learner import NextToken
    from pipelines.training.optimizers import build

    network = load(checkpoint)
    attach(network, Form(8, 16.0), ["*"], torch.Generator().manual_seed(0), (HEAD,))
    network.activation_checkpointing = recompute
    objective = NextToken(network, 0.0).train()
    (optimizer,) = build(TrainConfig(lr=2e-4, weight_decay=0.0), network, (HEAD,), bf16_units=False)
    rows = tokens()
    loss = objective(rows[:, :-1], rows[:, 1:]) / rows[:, 1:].numel()
    loss.backward()
    torch.nn.utils.clip_grad_norm_([weight for weight in network.parameters() if weight.requires_grad], 1.0)
    optimizer.step()
    return float(loss)


def peer(checkpoint: Path) -> float:
    """The same step by PEFT and transformers."""
    import peft
    import transformers

    network = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    settings = peft.LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    torch.manual_seed(0)
    network = peft.get_peft_model(network, settings).train()
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=2e-4, weight_decay=0.0)
    rows = tokens()
    loss = network(input_ids=rows, labels=rows).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(weights, 1.0)
    optimizer.step()
    return float(loss)


def measure(which: str, checkpoint: Path) -> dict[str, float]:
    """Run one of them in a process of its own. Raises RuntimeError when it fails."""
    command = [sys.executable, "-m", "benchmarks.sft_memory", which, str(checkpoint)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{which} ended with {done.returncode}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    record(which=which, **found)
    return found


def main() -> None:
    """Measure, and print the result."""
    which = sys.argv[1] if sys.argv[1:] and sys.argv[1] in ("ours", "recomputed", "peer") else None
    checkpoint = Path(sys.argv[-1]) if len(sys.argv) > (2 if which else 1) else CHECKPOINT
    if which:
        began = time.monotonic()
        loss = peer(checkpoint) if which == "peer" else ours(checkpoint, which == "recomputed")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"peak_mb": peak, "loss": loss, "seconds": time.monotonic() - began}))
        return
    if not (checkpoint / "model.safetensors").is_file():
        report(name="sft_memory", skipped=f"needs {checkpoint}: metroline run smollm2", ok=True)
    found = {each: measure(each, checkpoint) for each in ("ours", "recomputed", "peer")}
    value, baseline = found["ours"]["peak_mb"], found["peer"]["peak_mb"]
    report(
        name="sft_memory", value=round(value), unit="MB", baseline=round(baseline), ratio=value / baseline,
        accept=f"<= {ACCEPT} x PEFT on transformers", ok=value <= ACCEPT * baseline,
    )  # fmt: skip


if __name__ == "__main__":
    main()
