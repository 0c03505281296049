"""What the trainer needs to know of preference tuning: pairs of answers, judged against the weights it began with.

An epoch takes each pair once; `train.batch` counts pairs. The pairs of a batch share rows of `train.sequence` tokens
without seeing each other. Before the first step the log-probabilities of all answers are computed under the
first weights, in evaluation mode, and it is checked that training begins there: with no margin, and the loss of none.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from base.errors import MetrolineError
from base.files import write_json
from base.progress import Progress
from data.text.shards import Shards
from models.decoder.model import Decoder
from pipelines.tasks.instruction.rows import inputs
from pipelines.tasks.interface import Batch, Words
from pipelines.tasks.language_modelling.learner import LanguageModelling
from pipelines.tasks.preference import reference
from pipelines.tasks.preference.loss import pair_losses
from pipelines.tasks.preference.objective import Preference
from pipelines.tasks.preference.rows import inputs_of

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe

NOT_APART = 1e-6
"""How far the first loss may be from that of no margin, and the first margin from 0."""


class Preferences(LanguageModelling):
    """`pipelines.tasks.interface.Learner` of pairs, for a pretrained decoder on masked token shards; `Begins`.

    Raises MetrolineError: as LanguageModelling; chats that are longer than a sequence; weights with dropout.
    """

    words = Words(targets="pairs", loss="per pair")

    def __init__(self, recipe: "Recipe", prepared: Path, first: Path | None) -> None:
        super().__init__(recipe, prepared, first)
        self.task = recipe.task
        longest = max(int(inputs(shards).max()) for shards in (self.train, self.valid) if len(shards))
        if longest > self.config.sequence:
            raise MetrolineError(
                f"a chat shows {longest:,} tokens, more than train.sequence ({self.config.sequence:,})",
                hint="raise train.sequence, or leave long pairs out with a smaller data.length",
            )
        if getattr(self.model_config, "dropout", 0.0):
            raise MetrolineError(
                "the first weights have dropout, under which no preference could be told from noise",
                hint="take weights whose config.json has none",
            )
        self.examples = len(self.train) // 2
        self.reference: dict[str, Tensor] = {}
        self.seal = ""

    def objective(self, network: nn.Module) -> Preference:  # type: ignore[override]
        """See `Preference`. Raises MetrolineError: a train split that is smaller than one batch."""
        assert isinstance(network, Decoder)
        self.check_sizes()
        self._network = network
        return Preference(network, self.task, self.config.label_smoothing)

    def check_sizes(self) -> None:
        """Raise MetrolineError: a sequence beyond the context, a train split of less than one batch."""
        if (sequence := self.config.sequence) > self.model_config.context:
            raise MetrolineError(
                f"train.sequence {sequence} is longer than the weights' context ({self.model_config.context})"
            )
        if self.examples < self.config.batch:
            raise MetrolineError(
                f"the train split has {self.examples:,} pairs, less than one batch of {self.config.batch:,}",
                hint="take more data, or a smaller train.batch",
            )

    @torch.no_grad()
    def begin(self, objective: nn.Module, folder: Path, device: torch.device) -> None:
        """The reference, computed or read; then the check that training begins at it. Raises MetrolineError."""
        assert isinstance(objective, Preference)
        objective.eval()
        identity = reference.made_of(objective.model, self.data_hash, device)
        self.reference, self.seal = reference.kept(folder, identity, lambda: self._compute(objective, device))
        count = min(self.config.batch, self.examples)
        batch = self._batch_of(self.train, "train", list(range(count)), device)
        loss = float(objective.train()(**batch.inputs, seed=torch.tensor(0))) / count
        margin = objective.noted()["margin"] / count
        nothing = pair_losses(torch.zeros(1), self.task.loss, self.task.beta, self.config.label_smoothing)
        expected = float(nothing.losses)
        if not (abs(loss - expected) <= NOT_APART * max(1.0, expected) and abs(margin) <= NOT_APART):
            raise MetrolineError(
                f"training does not begin at the reference: the first loss is {loss:.7f} instead of {expected:.7f}, "
                f"the first margin {margin:.2g} instead of 0",
                hint=f"remove {folder}, so that the reference is computed anew",
            )

    def _compute(self, objective: Preference, device: torch.device) -> dict[str, Tensor]:
        splits = {"train": self.train, "valid": self.valid}
        found = {}
        with Progress("reference", sum(len(shards) // 2 for shards in splits.values()), "pairs") as progress:
            for split, shards in splits.items():
                parts = [torch.zeros(0, 2)]
                for pairs in self._in_order(shards):
                    batch = self._batch_of(shards, None, pairs, device)
                    parts.append(objective.log_probabilities(**batch.inputs).float().cpu())
                    progress.update(len(pairs))
                found[split] = torch.cat(parts)
        return found

    def _in_order(self, shards: Shards) -> Iterator[list[int]]:
        """All pairs of a split, a batch at a time."""
        count, step = len(shards) // 2, self.config.batch
        for at in range(0, count, step):
            yield list(range(at, min(at + step, count)))

    def batch(
        self, epochs: NDArray[np.int64], examples: NDArray[np.int64], sequence: int, device: torch.device
    ) -> Batch:
        """Pairs; `sequence` is always train.sequence."""
        return self._batch_of(self.train, "train", examples.tolist(), device)

    def validation(self, device: torch.device) -> Iterator[Batch]:
        """All pairs of the validation split."""
        for pairs in self._in_order(self.valid):
            yield self._batch_of(self.valid, "valid", pairs, device)

    def _batch_of(self, shards: Shards, split: str | None, pairs: list[int], device: torch.device) -> Batch:
        """Their chats in shared rows. `split`: whose reference goes with them; None: there is none yet."""
        values = inputs_of(shards, pairs, self.config.sequence, device, share=device.type == "cpu")
        if split is not None:
            values["reference"] = self.reference[split][pairs].to(device)
        rows, length = values["tokens"].shape
        if length not in self._flops:
            self._flops[length] = self._network.flops_per_token(length)
        return Batch(values, len(pairs), float(self._flops[length]) * rows * length)

    def describe(self, epochs: NDArray[np.int64], examples: NDArray[np.int64]) -> str:
        """The pairs' numbers in the train split, the first few of them."""
        pairs = (examples + 1).tolist()
        few = ", ".join(map(str, pairs[:4])) + (", …" if len(pairs) > 4 else "")
        return f"{len(pairs)} pairs, numbers {few} of the train split (two lines each of train.documents.jsonl)"

    def save(self, network: nn.Module, folder: Path) -> None:
        """As LanguageModelling, and preference.json: what the model was judged against while it learnt."""
        super().save(network, folder)
        if self.reference:
            record = {"loss": self.task.loss, "beta": self.task.beta, "reference_sha256": self.seal,
                      "pairs": {split: len(values) for split, values in self.reference.items()}}  # fmt: skip
            write_json(folder / "preference.json", record)
