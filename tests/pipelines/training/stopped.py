"""A training that is asked to end on its way, and then goes on."""

import signal

import pytest

from pipelines.paths import Paths
from pipelines.recipe.schema import Recipe
from pipelines.training.loop import Trainer
from pipelines.training.stage import train


def train_with_a_stop(recipe: Recipe, paths: Paths, step: int = 4) -> None:
    """Train; as SIGTERM it is told to stop when it has done so many steps; train again, to the end."""
    real = Trainer.step

    def stop(trainer: Trainer) -> None:
        if trainer.counters.step == step:
            trainer.stop.number = signal.SIGTERM
        real(trainer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", stop)
        with pytest.raises(SystemExit):
            train(recipe, paths)
    train(recipe, paths)
