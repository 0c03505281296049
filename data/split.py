"""Train, validation and test splits that stay put.

`hash` gives every document to a split by a salted hash of its text: adding documents moves no other one, and equal
texts always share a split. `tail` cuts the corpus in reading order into test | train | valid, for a corpus that is
one text: validation is its end and right behind train, as in nanoGPT, so that losses can be compared with what others
report. What counts as a document is data/text/documents.py's.

For records there are three more. `group` keeps together what belongs together (a speaker's clips, a patient's images):
all of a group shares a split, by the hash of its name. `time` puts the newest last: train | gap | valid | gap | test.
`given` takes the split that the data set itself has, told by its files or a column. Sharing records out is
data/assign.py's, what must not be on two sides data/leaks.py's, few examples of each label data/few_shot.py's.
"""

import hashlib
import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SPLITS = ("train", "valid", "test")


class SplitConfig(BaseModel):
    """How documents are shared out; train gets what `valid` and `test` leave."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["hash", "tail", "group", "time", "given"] = Field(
        default="hash",
        description="by each document's hash, or by reading order; of records also: whole groups, by time, or as given",
    )
    valid: float = Field(default=0.05, ge=0, lt=1, description="share of the validation split")
    test: float = Field(default=0.10, ge=0, lt=1, description="share of the test split")
    salt: str = Field(default="metroline", description="another salt gives another split (`hash`, `group`)")
    group: str | None = Field(
        default=None, description="column or meta whose equal values must share a split; `group` splits by it"
    )
    by: str | None = Field(
        default=None, description="`time`: the column of the time (numbers or ISO 8601); `given`: that of the split"
    )
    gap: int = Field(default=0, ge=0, description="`time`: steps left out between two splits, such as the horizon")
    given: dict[Literal["train", "valid", "test"], str] = Field(
        default={},
        description="`given`: for a split a regular expression, found in the column `by` or in a file's path; what "
        "matches none is train's unless train has one; empty: by the words train, valid, val, dev, test. When none "
        "is valid, the share `valid` of train is, by hash",
    )
    duplicates: Literal["stop", "drop", "keep"] = Field(
        default="stop",
        description="equal inputs in two splits of records: stop, drop them from train (and from valid where test has "
        "them), or keep",
    )
    per_class: dict[Literal["train", "valid"], Annotated[int, Field(ge=1)]] = Field(
        default={},
        description="how many records of each label train keeps, and valid at most, chosen by hash; test keeps all",
    )

    @model_validator(mode="after")
    def _train_is_left(self) -> "SplitConfig":
        if self.valid + self.test >= 1:
            raise ValueError("valid and test leave nothing for train: their sum must be below 1")
        return self

    @model_validator(mode="after")
    def _keys_fit_the_method(self) -> "SplitConfig":
        for method, key in (("group", "group"), ("time", "by")):
            if self.method == method and getattr(self, key) is None:
                raise ValueError(f"method: {method} needs {key}, the name of a column")
        if self.by is not None and self.method not in ("time", "given"):
            raise ValueError(f"by has no effect with method: {self.method}")
        if self.gap and self.method != "time":
            raise ValueError(f"gap has no effect with method: {self.method}")
        if self.given and self.method != "given":
            raise ValueError(f"given has no effect with method: {self.method}")
        for split, pattern in self.given.items():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"given.{split} is not a regular expression: {error}") from None
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
