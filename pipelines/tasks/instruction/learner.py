"""What the trainer needs to know of instruction tuning: rows of chats, of whose tokens only answers are targets.

An epoch takes each row once. Chats share rows (`packing`) without seeing each other; nothing is padded by a token that
could be mistaken for an end, since targets are told by place.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from base.errors import MetrolineError
from data.text.shards import Shards
from pipelines.tasks.instruction.packing import alone, pack
from pipelines.tasks.instruction.rows import inputs, rows_of
from pipelines.tasks.interface import Batch, Words
from pipelines.tasks.language_modelling.learner import VALIDATION_TOKENS, LanguageModelling

if TYPE_CHECKING:
    from pipelines.recipe.schema import Recipe


class Instruction(LanguageModelling):
    """`pipelines.tasks.interface.Learner` of answers, for a pretrained decoder on masked token shards.

    Raises MetrolineError: as LanguageModelling, and for chats that are longer than a sequence or the model's context.
    """

    words = Words(targets="tokens", loss="nats per token of an answer")

    def __init__(self, recipe: "Recipe", prepared: Path, first: Path | None) -> None:
        super().__init__(recipe, prepared, first)
        longest = max(int(inputs(shards).max()) for shards in (self.train, self.valid) if len(shards))
        if longest > self.config.sequence:
            raise MetrolineError(
                f"a chat shows {longest:,} tokens, more than train.sequence ({self.config.sequence:,})",
                hint="raise train.sequence, or leave long chats out with a smaller data.length",
            )
        lengths = inputs(self.train).tolist()
        sequence, seed = self.config.sequence, self.config.seed
        self.rows = pack(lengths, sequence, seed) if recipe.task.pack else alone(lengths, sequence)
        self.examples = len(self.rows)

    def check_sizes(self) -> None:
        """Raise MetrolineError: a sequence beyond the context, a train split of less than one batch."""
        if (sequence := self.config.sequence) > self.model_config.context:
            raise MetrolineError(
                f"train.sequence {sequence} is longer than the weights' context ({self.model_config.context})"
            )
        if self.examples < self.config.batch:
            raise MetrolineError(
                f"the train split fills {self.examples:,} sequences, less than one batch of {self.config.batch:,}",
                hint="take more data, or a smaller train.batch or train.sequence",
            )

    def batch(
        self, epochs: NDArray[np.int64], examples: NDArray[np.int64], sequence: int, device: torch.device
    ) -> Batch:
        """Rows of chats; `sequence` is always train.sequence."""
        return self._rows(self.train, [self.rows[row] for row in examples.tolist()], device)

    def validation(self, device: torch.device) -> Iterator[Batch]:
        """All chats of the validation split."""
        if not len(self.valid):
            return
        rows = pack(inputs(self.valid).tolist(), self.config.sequence, self.config.seed)
        step = max(1, VALIDATION_TOKENS // self.config.sequence)
        for at in range(0, len(rows), step):
            yield self._rows(self.valid, rows[at : at + step], device)

    def _rows(self, shards: Shards, rows: list[list[int]], device: torch.device) -> Batch:
        made = rows_of(shards, rows, self.config.sequence, device)
        targets = sum(int(shards.mask_at(*_place(shards, chat)).sum()) for row in rows for chat in row)
        values = {"tokens": made.tokens, "targets": made.targets, "cu_seqlens": made.cu_seqlens}
        length = made.tokens.shape[1]
        if length not in self._flops:
            self._flops[length] = self._network.flops_per_token(length)
        return Batch(values, targets, float(self._flops[length]) * made.tokens.numel())

    def describe(self, epochs: NDArray[np.int64], examples: NDArray[np.int64]) -> str:
        """The chats' numbers in the train split, the first few of them."""
        chats = [chat + 1 for row in examples.tolist() for chat in self.rows[row]]
        few = ", ".join(map(str, chats[:4])) + (", …" if len(chats) > 4 else "")
        return f"{len(chats)} chats, lines {few} of train.documents.jsonl"


def _place(shards: Shards, chat: int) -> tuple[int, int]:
    """Where a chat begins in the split's row of tokens, and how long it is."""
    begin = int(shards.offsets[chat])
    return begin, int(shards.offsets[chat + 1]) - begin
