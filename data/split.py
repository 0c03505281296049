"""Train, validation and test splits that stay put.

`hash` gives every document to a split by a salted hash of its text: adding documents moves no other one, and equal
texts always share a split. `tail` cuts the corpus in reading order into test | train | valid, for a corpus that is
one text: validation is its end and right behind train, as in nanoGPT, so that losses can be compared with what others
report. What counts as a document is data/text/documents.py's.
"""

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SPLITS = ("train", "valid", "test")


class SplitConfig(BaseModel):
    """How documents are shared out; train gets what `valid` and `test` leave."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["hash", "tail"] = Field(default="hash", description="by each document's hash, or by reading order")
    valid: float = Field(default=0.05, ge=0, lt=1, description="share of the validation split")
    test: float = Field(default=0.10, ge=0, lt=1, description="share of the test split")
    salt: str = Field(default="metroline", description="another salt gives another split (`hash` only)")

    @model_validator(mode="after")
    def _train_is_left(self) -> "SplitConfig":
        if self.valid + self.test >= 1:
            raise ValueError("valid and test leave nothing for train: their sum must be below 1")
        return self


def by_hash(text: str, config: SplitConfig) -> str:
    """The split of a document: a function of its cleaned text and the salt, of nothing else."""
    digest = hashlib.sha256(f"{config.salt}\0{text}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64  # uniform in [0, 1)
    if place < config.test:
        return "test"
    return "valid" if place < config.test + config.valid else "train"


def tail_borders(total: int, config: SplitConfig) -> tuple[int, int]:
    """Where train and valid begin in a corpus of `total` characters: test is [0, a), train [a, b), valid [b, total)."""
    return int(total * config.test), int(total * (1 - config.valid))
