"""Does preference tuning here go the way that TRL's DPOTrainer goes, step by step, and how fast?

    metroline stage prepare smollm2-dpo && python -m benchmarks.dpo [--steps 20] [--peer PYTHON]

Both see the pairs of smollm2-dpo's train split in the order in which they stand, with the same tokens and targets,
from the same first adapter (benchmarks/_trl.py has the settings), β 0.1, reference log-probabilities computed before
the first step. The value is pairs per second of the steps after the first (the reference's speed is recorded, too), the
ratio is to TRL's; the losses of all steps must agree, and the first be ln 2.
"""

import math
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._report import record, report
from benchmarks._trl import BATCH, CHECKPOINT, Adapted, options, peer

PREPARED, BETA = Path("data/prepared/smollm2-dpo"), 0.1
ACCEPT, ACCEPT_SPEED, ACCEPT_FIRST = 1e-3, 1.5, 1e-6

PEER = """
from trl import DPOConfig, DPOTrainer


class Ready(DPOTrainer):  # the rows are tokens already
    def _prepare_dataset(self, dataset, *_):
        return dataset


class Times(TrainerCallback):
    ends = []
    def on_step_end(self, *_, **__):
        self.ends.append(time.perf_counter())


pairs = json.load(open(rows))
began = time.perf_counter()
trainer = Ready(network, args=DPOConfig(**settings, beta=float(sys.argv[9]), precompute_ref_log_probs=True),
                train_dataset=Dataset.from_list(pairs), callbacks=[Times()], processing_class=tokenizer)
reference = time.perf_counter() - began
trainer.train()
log = [line for line in trainer.state.log_history if "loss" in line]
seconds = Times.ends[-1] - Times.ends[0]
print(json.dumps({"losses": [line["loss"] for line in log], "margins": [line["rewards/margins"] for line in log],
                  "pairs_per_s": batch * (len(Times.ends) - 1) / seconds,
                  "reference_pairs_per_s": len(pairs) / reference}))
"""


def rows_of(pairs: int) -> list[dict[str, list[int]]]:
    """The train split's first pairs as TRL takes them ready-made."""
    from data.text.shards import Shards

    shards, found = Shards(PREPARED, "train"), []
    for pair in range(pairs):
        row = {}
        for side, name in enumerate(("chosen_ids", "rejected_ids")):
            tokens = shards.document(2 * pair + side)
            mask = shards.mask_at(int(shards.offsets[2 * pair + side]), len(tokens))
            row["prompt_ids"], row[name] = tokens[~mask].tolist(), tokens[mask].tolist()
        found.append(row)
    return found


def ours(first: Path, steps: int) -> dict[str, Any]:
    """The losses and margins of so many steps from the adapter in `first`, and their speed."""
    from pipelines.recipe.load import load as load_recipe
    from pipelines.tasks.preference.learner import Preferences

    recipe, cpu = load_recipe("smollm2-dpo", Path()), torch.device("cpu")
    learner = Preferences(
        recipe.model_copy(update={"train": recipe.train.model_copy(update={"batch": BATCH})}), PREPARED, CHECKPOINT
    )
    learner.train.offsets = learner.train.offsets[: 2 * BATCH * steps + 1]
    learner.valid.offsets = learner.valid.offsets[:1]
    adapted = Adapted(first)
    objective = learner.objective(adapted.network)
    began = time.perf_counter()
    learner.begin(objective, first / "reference", cpu)
    reference = time.perf_counter() - began
    losses, margins, ends = [], [], []
    objective.train()
    for step in range(steps):
        pairs = np.arange(BATCH * step, BATCH * (step + 1))
        batch = learner.batch(np.zeros_like(pairs), pairs, recipe.train.sequence, cpu)
        losses.append(adapted.step(objective(**batch.inputs) / BATCH))
        ends.append(time.perf_counter())
        margins.append(objective.noted()["margin"] / BATCH)
    return {"losses": losses, "margins": margins, "pairs_per_s": BATCH * (steps - 1) / (ends[-1] - ends[0]),
            "reference_pairs_per_s": BATCH * steps / reference}  # fmt: skip


def main() -> None:
    """Measure, and print the result."""
    asked = options("dpo", PREPARED, steps=20)
    with tempfile.TemporaryDirectory() as name:
        theirs = peer(asked.peer, PEER, Path(name), asked.steps, rows_of(BATCH * asked.steps), BETA)
        found = ours(Path(name) / "first", asked.steps)
    record(which="trl", **theirs)
    record(which="ours", **found)
    apart = {key: float(np.abs(np.subtract(found[key], theirs[key])).max()) for key in ("losses", "margins")}
    first, ratio = abs(found["losses"][0] - math.log(2)), found["pairs_per_s"] / theirs["pairs_per_s"]
    report(
        name="dpo", value=found["pairs_per_s"], unit="pairs/s", baseline=theirs["pairs_per_s"], ratio=ratio,
        losses_apart=apart["losses"], margins_apart=apart["margins"], first_loss_off=first,
        reference_ratio=found["reference_pairs_per_s"] / theirs["reference_pairs_per_s"],
        threads=torch.get_num_threads(),
        accept=f">= {ACCEPT_SPEED} x TRL, losses within {ACCEPT}, the first within {ACCEPT_FIRST} of ln 2",
        ok=ratio >= ACCEPT_SPEED and apart["losses"] <= ACCEPT and first <= ACCEPT_FIRST,
    )  # fmt: skip


if __name__ == "__main__":
    main()
