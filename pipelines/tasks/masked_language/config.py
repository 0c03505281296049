"""The keys of a recipe that only masked-language pretraining has: task, data, evaluate."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from data.text.tokenizer import TokenizerConfig
from pipelines.tasks.language_modelling.config import TextConfig


class MaskedLanguageConfig(BaseModel):
    """Find the tokens that are hidden in a text (BERT, Devlin et al. 2019): of those that count 80 % are [MASK], 10 %
    another token, and 10 % stand as they are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["masked-language"] = "masked-language"
    rate: float = Field(default=0.15, gt=0, lt=1, description="share of a window's tokens that count in training")
    whole_words: bool = Field(default=False, description="all pieces of a word count, or none of them")


class MaskedTextConfig(TextConfig):
    """How raw text becomes documents, and documents tokens."""

    tokenizer: TokenizerConfig = TokenizerConfig(kind="wordpiece", vocabulary=8192)


class EvaluateConfig(BaseModel):
    """How the validation and test splits are scored: with masks that are always the same."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rate: float = Field(default=0.15, gt=0, lt=1, description="share of a window's tokens that count")
    seed: int = Field(default=0, ge=0, description="of the masks")
    examples: tuple[str, ...] = Field(default=(), description="texts with one [MASK], whose answers the card shows")
