"""Does training chats here go the way that TRL's SFTTrainer goes: the same losses, step by step, and at the end?

    metroline stage prepare smollm2-sft && python -m benchmarks.sft_curve [--steps 20] [--peer PYTHON]

Both see the rows of smollm2-sft's train split in the order in which they stand, with the same tokens and targets, from
the same first adapter (benchmarks/_trl.py has the settings), without packing. The value is the largest difference of a
step's loss; the loss on the test split afterwards is recorded, too.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._report import record, report
from benchmarks._trl import BATCH, Adapted, options, peer

PREPARED = Path("data/prepared/smollm2-sft")
ACCEPT, ACCEPT_TEST = 1e-3, 0.01

PEER = """
from trl import SFTConfig, SFTTrainer

split = json.load(open(rows))
settings = SFTConfig(**settings, packing=False, completion_only_loss=True, per_device_eval_batch_size=batch,
                     shuffle_dataset=False)
trainer = SFTTrainer(network, settings, train_dataset=Dataset.from_list(split["train"]), processing_class=tokenizer)
began = time.perf_counter()
trainer.train()
seconds = time.perf_counter() - began
losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
network.eval()
nats = targets = 0.0
with torch.no_grad():
    for row in split["test"]:
        ids, mask = torch.tensor([row["input_ids"]]), torch.tensor(row["completion_mask"])[1:].bool()
        logits = network(ids).logits[0, :-1]
        nats += float(torch.nn.functional.cross_entropy(logits[mask], ids[0, 1:][mask], reduction="sum"))
        targets += int(mask.sum())
print(json.dumps({"losses": losses, "test_loss": nats / targets, "seconds": seconds}))
"""


def rows_of(split: str) -> list[dict[str, list[int]]]:
    """A split's chats as TRL takes them ready-made."""
    from data.text.shards import Shards

    shards = Shards(PREPARED, split)
    found = []
    for chat in range(len(shards)):
        tokens = shards.document(chat)
        mask = shards.mask_at(int(shards.offsets[chat]), len(tokens)).astype(int)
        found.append({"input_ids": tokens.tolist(), "completion_mask": mask.tolist()})
    return found


def ours(first: Path, steps: int) -> dict[str, Any]:
    """The losses of so many steps, and of the test split after them, from the adapter in `first`."""
    from base.progress import Progress
    from data.text.shards import Shards
    from pipelines.tasks.instruction.gain import chat_losses
    from pipelines.tasks.instruction.packing import alone
    from pipelines.tasks.instruction.rows import inputs, rows_of
    from pipelines.tasks.language_modelling.learner import NextToken

    train, test = Shards(PREPARED, "train"), Shards(PREPARED, "test")
    adapted = Adapted(first)
    objective, losses = NextToken(adapted.network, 0.0).train(), []
    for step in range(steps):
        made = rows_of(train, [[chat] for chat in range(BATCH * step, BATCH * (step + 1))], 512, torch.device("cpu"))
        loss = objective(made.tokens, made.targets, cu_seqlens=made.cu_seqlens) / (made.targets >= 0).sum()
        losses.append(adapted.step(loss))
    rows = alone(inputs(test).tolist(), 512)
    with Progress("test", len(test), "chats") as progress:
        nats = chat_losses(adapted.network.eval(), test, rows, 512, BATCH, progress)
    return {"losses": losses, "test_loss": float(nats.sum() / test.entry["targets"])}


def trl(python: str, folder: Path, steps: int) -> dict[str, Any]:
    """TRL's losses of so many steps, of the test split after them, and its seconds."""
    return peer(python, PEER, folder, steps, {split: rows_of(split) for split in ("train", "test")})


def main() -> None:
    """Measure, and print the result."""
    asked = options("sft_curve", PREPARED, steps=20)
    with tempfile.TemporaryDirectory() as name:
        theirs = trl(asked.peer, Path(name), asked.steps)
        found = ours(Path(name) / "first", asked.steps)
    record(which="trl", **theirs)
    record(which="ours", **found)
    worst = float(np.abs(np.subtract(found["losses"], theirs["losses"])).max())
    apart = abs(found["test_loss"] / theirs["test_loss"] - 1)
    report(
        name="sft_curve", value=worst, unit="largest difference of a step's loss", baseline=0, ratio=None,
        test_loss_apart=apart, accept=f"<= {ACCEPT}, test loss within {ACCEPT_TEST:.0%}",
        ok=worst <= ACCEPT and apart <= ACCEPT_TEST,
    )  # fmt: skip


if __name__ == "__main__":
    main()
