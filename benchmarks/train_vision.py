"""How much sooner recipe `mnist-lenet` reads 99 % of the test digits right than a plain PyTorch loop with a DataLoader.

    python -m benchmarks.train_vision

The baseline is what a tutorial writes: a Dataset that scales one image at a time, a DataLoader of 2 workers that
shuffles, the same LeNet in batches of the same size, AdamW at its default rate of 1e-3, float32. Both get the same
decoded train split, are judged on the whole test split every 125 steps, and run in processes of their own with the
machine's threads. Judging is not counted, everything else in the loops is. Ours is the trainer as the recipe has it
(augmented images, its schedule, states and curves written) with three seeds, before and after the baseline; the median
of its times counts: one that misses the target takes for ever.
"""

import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from base.files import read_json
from benchmarks._report import report, say
from benchmarks._training import ROOT, lines, project, temporary_line, timing
from pipelines.paths import Paths
from pipelines.recipe import kinds
from pipelines.recipe.load import load as load_recipe
from pipelines.tasks.supervised.examples import Examples
from pipelines.tasks.supervised.network import build
from pipelines.tasks.supervised.predict import predict

RECIPE, TARGET, EVERY, EPOCHS, WORKERS = "mnist-lenet", 0.99, 125, 10, 2
SEEDS = (1, 2, 3)


class Digits(Dataset[tuple[Tensor, int]]):
    """One image at a time, float32 [1, 28, 28], scaled by the mean and spread of train."""

    def __init__(self, examples: Examples) -> None:
        self.images, self.targets = torch.from_numpy(examples.inputs), examples.targets.tolist()
        fitted = examples.index["fitted"]
        self.mean, self.std = float(fitted["mean"][0]), float(fitted["std"][0])

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        image = self.images[number].permute(2, 0, 1).to(torch.float32)
        return (image - self.mean) / self.std, self.targets[number]


def accuracy(network: nn.Module, test: Examples) -> float:
    """Of the whole test split, in float32; the network comes back in the mode it had."""
    training = network.training
    found = float((predict(network.eval(), test.inputs).argmax(1) == test.targets).mean())
    network.train(training)
    return found


def baseline(prepared: Path) -> dict[str, float]:
    """Train the plain loop until it reaches the target; {seconds, accuracy, steps, parameters}."""
    torch.manual_seed(1337)
    recipe = load_recipe(RECIPE, ROOT)
    train, test = Examples(prepared, "train"), Examples(prepared, "test")
    network = build(recipe.model, train.index, torch.Generator().manual_seed(1337)).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    loader = DataLoader(Digits(train), batch_size=recipe.train.batch, shuffle=True, num_workers=WORKERS,
                        persistent_workers=True)  # fmt: skip
    steps, seconds, reached, started = 0, 0.0, 0.0, time.perf_counter()
    for _ in range(EPOCHS):
        for images, targets in loader:
            optimizer.zero_grad()
            loss = functional.cross_entropy(network.body(images), targets)
            loss.backward()
            optimizer.step()
            steps += 1
            if steps % EVERY:
                continue
            seconds += time.perf_counter() - started
            reached = accuracy(network, test)
            say(f"baseline: step {steps}, loss {loss.item():.3f}, accuracy {reached:.4f}, {seconds:.1f} s")
            if reached >= TARGET:
                parameters = sum(weight.numel() for weight in network.parameters())
                return {"seconds": seconds, "accuracy": reached, "steps": steps, "parameters": parameters}
            started = time.perf_counter()
    raise RuntimeError(f"the plain loop did not reach {TARGET} in {EPOCHS} epochs: {reached}")


def train_watched(root: Path) -> None:
    """Train the recipe below `root` by our trainer, its weights judged on the test split every so many steps."""
    from pipelines.tasks.supervised.learner import Supervised
    from pipelines.training.stage import train

    recipe, paths = load_recipe(RECIPE, root), Paths(RECIPE, root)
    test = Examples(paths.prepared, "test")

    class Watched(Supervised):
        metric, better = "accuracy", "higher"

        def value(self, network: nn.Module, device: torch.device) -> float:
            with torch.autocast(device.type, enabled=False):
                return accuracy(network, test)

    kinds.task(recipe.task.kind).learner = lambda task, prepared, first: Watched(task.recipe, prepared, first)
    changed = recipe.train.model_copy(update={"evaluate_every": EVERY, "log_every": EVERY})
    train(recipe.model_copy(update={"train": changed}), paths)


def ours(folder: Path, seed: int) -> dict[str, float]:
    """Train the recipe in a process of its own; {seconds, accuracy, steps, parameters}. Seconds: of all steps until the
    target was reached."""
    paths = project(folder, f"seed-{seed}", RECIPE, seed=seed)
    _itself("--ours", paths.root)
    curves = [line for line in lines(paths.checkpoint / "curves.jsonl") if "valid_accuracy" in line]
    reached = min((line["step"] for line in curves if line["valid_accuracy"] >= TARGET), default=math.inf)
    taken = [line for line in timing(paths) if line["step"] <= reached]
    seconds = sum(line["steps"] * line["step_s"] + line.get("save_s", 0.0) for line in taken)
    facts = read_json(paths.checkpoint / "training.json")
    last = curves[-1]["valid_accuracy"]
    say(f"ours, seed {seed}: {TARGET} at step {reached}, {seconds:.2f} s of training; {last:.4f} at its end")
    return {"seconds": seconds if math.isfinite(reached) else math.inf, "accuracy": last, "steps": reached,
            "parameters": facts["parameters"]}  # fmt: skip


def judged(runs: list[dict[str, float]], plain: dict[str, float]) -> dict[str, Any]:
    """The last line: the median run against the plain loop. `value` and `ratio` are None where most runs miss."""
    middle = statistics.median_low(sorted(run["seconds"] for run in runs))
    run = next(run for run in runs if run["seconds"] == middle)
    reached, ratio = math.isfinite(middle), middle / plain["seconds"]
    return {
        "name": "train_vision",
        "value": round(middle, 2) if reached else None,
        "unit": f"seconds to test accuracy {TARGET}, median of {len(runs)} seeds",
        "baseline": round(plain["seconds"], 2),
        "ratio": round(ratio, 4) if reached else None,
        "accept": "<= 0.6 (aim 0.3)",
        "ok": ratio <= 0.6 and run["parameters"] == plain["parameters"],
        "steps": run["steps"] if reached else None,
        "baseline_steps": plain["steps"],
        "accuracies": [run["accuracy"] for run in runs],
        "threads": torch.get_num_threads(),
    }


def _itself(what: str, folder: Path) -> str:
    """The output of this benchmark's other part, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.train_vision", what, str(folder)]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def main() -> None:
    """Measure, and print the result."""
    with temporary_line(RECIPE) as folder:
        runs = [ours(folder, SEEDS[0])]
        plain = json.loads(_itself("--baseline", folder / "prepared").splitlines()[-1])
        say(f"baseline: {plain['accuracy']:.4f} in {plain['seconds']:.2f} s, {plain['steps']} steps")
        runs += [ours(folder, seed) for seed in SEEDS[1:]]
    report(**judged(runs, plain))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--baseline"]:
        print(json.dumps(baseline(Path(sys.argv[2]))))
    elif sys.argv[1:2] == ["--ours"]:
        train_watched(Path(sys.argv[2]))
    else:
        main()
