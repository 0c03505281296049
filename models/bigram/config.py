"""The keys of `model: {kind: bigram}`. Imports no torch."""

from typing import Literal

from models.common.config import StatefulConfig


class Config(StatefulConfig):
    """A table of vocabulary × vocabulary."""

    kind: Literal["bigram"] = "bigram"
