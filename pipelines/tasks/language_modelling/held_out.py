"""Text that exported forms are calibrated and judged on: windows of the validation and the test split."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.text.shards import Shards
from pipelines.tasks.interface import Logits
from pipelines.tasks.language_modelling import scoring
from pipelines.tasks.language_modelling.windows import tokens_of

BATCH_TOKENS = 2048


class HeldOut:
    """`pipelines.tasks.interface.HeldOut` of a folder of prepared text."""

    def __init__(self, prepared: Path) -> None:
        self.prepared = prepared

    def calibration(self, context: int, tokens: int) -> Iterator[NDArray[np.int64]]:
        """See there."""
        valid = Shards(self.prepared, "valid")
        begins = frozenset(np.asarray(valid.offsets).tolist())
        for window in scoring.split_windows(valid, context, 1.0, tokens):
            inputs, _ = tokens_of([window], valid, begins)
            yield inputs[0, : window.length]

    def losses(self, logits_of: Logits, context: int, tokens: int) -> NDArray[np.float64]:
        """See there."""
        test = Shards(self.prepared, "test")
        windows = scoring.split_windows(test, context, 1.0, tokens)
        nats = scoring.score(logits_of, test, windows, BATCH_TOKENS)
        return nats[~np.isnan(nats)].astype(np.float64)
