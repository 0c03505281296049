"""Stage `train`: from prepared data to a checkpoint, on one CPU, one GPU or several processes.

    metroline stage train shakespeare
    torchrun --nproc-per-node 2 -m pipelines.training.stage shakespeare

Run again after any kind of end, it goes on from the last state and arrives at the same bytes. What it learns is the
business of pipelines/tasks, how it learns that of pipelines/training; `pipelines.tasks.language_modelling.evaluate`
scores the test split.
"""

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from base.errors import MetrolineError
from base.files import atomic_folder, write_json, writing
from base.imports import digest
from pipelines.paths import Paths
from pipelines.recipe import kinds
from pipelines.recipe.code import files

if TYPE_CHECKING:
    from torch import Tensor

    from pipelines.recipe.schema import Recipe
    from pipelines.tasks.interface import Learner
    from pipelines.training.loop import Trainer
    from pipelines.training.metrics import Watch

PORT = "METROLINE_METRICS_PORT"
"""Variable: also serve the run's Prometheus metrics on this port, on loopback."""
ROOT = Path(__file__).resolve().parents[2]

# Options that decide when and where, but no number of the result.
_NOT_IN_FINGERPRINT = {"save_every", "keep", "device", "precision", "compile", "distributed"}


@dataclass(frozen=True)
class Run:
    """A training run that has come to its end."""

    trainer: "Trainer"
    began_with: Mapping[str, str]
    """The first weights' files and their SHA-256."""


def train(recipe: "Recipe", paths: Paths, *, metrics_port: int | None = None, anew: bool = False) -> None:
    """Train the recipe's model on `paths.prepared` and write `paths.checkpoint`; states go to `paths.training`.

    A run that was stopped goes on; one that is done only writes its checkpoint again or, `anew`, starts again. Raises
    MetrolineError: prepared data that is missing, damaged or too small, a device that is not there, a loss that is not
    finite, a disk that is full (the states before stay). SIGTERM and SIGINT save the state and raise SystemExit with
    143 or 130.
    """
    from pipelines.training.loop import say

    with finished(recipe, paths, metrics_port=metrics_port, anew=anew) as run:
        weights = run.trainer.best()
        if run.trainer.group.leads:
            if overfitted := judgement(run.trainer):
                say(overfitted)
            write_checkpoint(recipe, paths, run.trainer, weights, run.began_with)


@contextmanager
def finished(
    recipe: "Recipe",
    paths: Paths,
    *,
    metrics_port: int | None = None,
    anew: bool = False,
    watch: "Watch | None" = None,
) -> Iterator[Run]:
    """Train as `train` does, and give the run at its end, with nothing written but states.

    `watch` is told every line of the curves, also those from before a run was stopped; what it raises ends the run.
    """
    from pipelines.training import device as machine
    from pipelines.training import first
    from pipelines.training.curves import read_curves
    from pipelines.training.distributed import joined
    from pipelines.training.loop import Diverged, Trainer, say
    from pipelines.training.metrics import Metrics
    from pipelines.training.randomness import left_alone
    from pipelines.training.state import States, forget_others

    port = checked_port(metrics_port)
    device = machine.choose(recipe.train.device)
    with joined(device) as group, writing(paths.training), left_alone(device):
        files_of_first = first.folder(recipe, paths)
        began_with = first.hashes(files_of_first) if files_of_first is not None else {}
        task = kinds.task(recipe.task.kind)(recipe).learner(paths.prepared, files_of_first)
        identity = identify(recipe, task, began_with)
        states = States(paths.training / "states" / identity, recipe.train.keep)
        if device.type == "cpu":
            machine.keep_freed_memory()
        trainer = Trainer(recipe.train, task, group, states)
        if group.leads:
            fresh = not states.folder.is_dir()
            if anew and states.forget_finished():
                say("training was done, and starts anew as asked")
            states.folder.mkdir(parents=True, exist_ok=True)
            if forget_others(states.folder.parent, identity) and fresh:
                say("the recipe, its data or the code has changed since the last run: training starts anew")
        group.wait()
        trainer.begin()
        if trainer.restore() and group.leads:
            ended = "is already done" if trainer.counters.finished else "goes on"
            say(f"training {ended}: found the state of step {trainer.counters.step} in {states.folder}")
        if watch is not None and group.leads:
            for line in read_curves(states.curves):
                watch(line)
        metrics = Metrics(recipe.name, paths.training, states.curves, port, watch) if group.leads else None
        success = False
        try:
            trainer.run(metrics)
            success = True
        except Diverged:
            if metrics is not None:
                metrics.set(loss=math.nan)  # what the monitoring's alert looks for
            raise
        finally:
            if metrics is not None:
                metrics.close(success=success)
        yield Run(trainer, began_with)
        group.wait()


def judgement(trainer: "Trainer") -> str:
    """What to say of a run whose validation got worse again before it ended; nothing of others."""
    counters = trainer.counters
    best, last = counters.best_value, counters.valid_value
    if best is None or last is None or abs(last - best) <= 0.02 * abs(best):
        return ""
    higher = last < best  # than the last is the best
    return (
        f"the validation {trainer.metric} was {'highest' if higher else 'lowest'} at step {counters.best_step} of "
        f"{counters.step} ({best:.3f}) and {'fell' if higher else 'rose'} to {last:.3f}: the weights of that step are "
        f"kept, and more data or fewer steps would use the time better"
    )


def identify(recipe: "Recipe", task: "Learner", began_with: Mapping[str, str] = {}) -> str:
    """The fingerprint of a run: of the recipe's sections that a learner reads, what it is judged by, the data, the
    code, and PyTorch's version. `began_with`: the first weights' files and their SHA-256."""
    import torch

    from pipelines.tasks.interface import Judged, Validated
    from pipelines.training.state import fingerprint

    return fingerprint(
        {
            "model": recipe.model.model_dump(mode="json"),
            "train": recipe.train.model_dump(mode="json", exclude=_NOT_IN_FINGERPRINT),
            "task": recipe.task.model_dump(mode="json"),
            "data_section": recipe.data.model_dump(mode="json"),
            "first": {"files": dict(began_with), "freeze": recipe.pretrained.freeze},
            "judged": [task.metric, task.better] if isinstance(task, Judged) else [],
            "validated_by": dict(task.validated_by) if isinstance(task, Validated) else {},
            "data": task.data_hash,
            "code": digest(files("train", recipe.task.kind, recipe.model.kind, ROOT), ROOT),
            "torch": torch.__version__,
        }
    )


def write_checkpoint(
    recipe: "Recipe", paths: Paths, trainer: "Trainer", weights: "dict[str, Tensor]", began_with: Mapping[str, str]
) -> None:
    """The folder `paths.checkpoint`, written whole or not at all; the same run gives the same bytes."""
    import shutil

    import torch

    from pipelines.tasks.interface import words
    from pipelines.training.adapter import digest, network_of, save
    from pipelines.training.curves import draw, read_curves
    from pipelines.training.snapshot import fill

    network = network_of(trainer.task, recipe.train, torch.Generator())
    frozen = {name: weight for name, weight in network.named_parameters() if not weight.requires_grad}
    if frozen and digest(frozen) != trainer.untouched:  # they were read again
        raise MetrolineError(
            "the first weights have changed while training went on from them; nothing is written",
            hint=f"metroline run {recipe.name}",
        )
    fill(network, weights)
    counters = trainer.counters
    with atomic_folder(paths.checkpoint) as folder:
        save(trainer.task, recipe, network, folder, began_with)
        shutil.copyfile(trainer.states.curves, folder / "curves.jsonl")
        draw(read_curves(trainer.states.curves), folder / "curves.png", recipe.name, words(trainer.task).loss)
        write_json(
            folder / "training.json",
            {
                "recipe": recipe.name,
                "step": counters.best_step or counters.step,
                "steps": counters.step,
                "stopped_early": counters.step < recipe.train.steps,
                "valid_loss": counters.best_loss,
                f"valid_{trainer.metric}": counters.best_value,
                "tokens": counters.tokens,
                "parameters": trainer.parameters,
                **({"trained": trainer.trained} if trainer.frozen else {}),
                "data_hash": trainer.task.data_hash,
                "precision": trainer.precision,
                **({"began_with": dict(began_with)} if began_with else {}),
            },
        )


def checked_port(port: int | None) -> int | None:
    """The port to serve metrics on, from the argument or METROLINE_METRICS_PORT. Raises MetrolineError."""
    text = os.environ.get(PORT) if port is None else str(port)
    if not text:
        return None
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise MetrolineError(f"metrics port {text!r} is not a number from 1 to 65535")
    return int(text)


def main() -> None:
    """The command line, for torchrun."""
    import argparse
    import sys

    from base.terminal import print_anywhere
    from pipelines.recipe.load import load as load_recipe

    parser = argparse.ArgumentParser(prog="python -m pipelines.training.stage", description="Train one recipe.")
    parser.add_argument("recipe", help="name of a file in pipelines/recipes/, without .yaml")
    parser.add_argument("--device", help="auto, cpu, cuda, cuda:1, mps (default: what the recipe says)")
    parser.add_argument("--metrics-port", type=int, help="serve Prometheus metrics on this port of 127.0.0.1")
    parser.add_argument("--root", type=Path, default=Path("."), help="the project's root folder")
    options = parser.parse_args()
    print_anywhere()
    try:
        if options.device:
            os.environ["METROLINE_DEVICE"] = options.device
        recipe = load_recipe(options.recipe, options.root)
        train(recipe, Paths(options.recipe, options.root), metrics_port=options.metrics_port)
    except MetrolineError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
