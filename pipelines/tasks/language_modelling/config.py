"""The keys of a recipe that only language modelling has: how text becomes tokens, is judged, and is exported."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from data.fetch.own_files import SUFFIXES
from data.text.clean import CleanConfig
from data.text.documents import DocumentsConfig
from data.text.tokenizer import TokenizerConfig


class LanguageModellingConfig(BaseModel):
    """Predict each next token of a text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["language-modelling"] = "language-modelling"


class TextConfig(BaseModel):
    """How raw text becomes documents, and documents tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    documents: DocumentsConfig = DocumentsConfig()
    clean: CleanConfig = CleanConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings of the files that can hold text."""
        return SUFFIXES


class EvaluateConfig(BaseModel):
    """How the test split is scored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    context: int | None = Field(
        default=None, ge=2, description="tokens that one window shows; None: the model's context"
    )
    stride: float = Field(
        default=0.75,
        gt=0,
        le=1,
        description="part of a window that is scored, the rest being context (1: no overlap)",
    )
    batch_tokens: int = Field(default=2048, ge=1, description="tokens in one batch, padding included")
    group_by: str | None = Field(
        default=None, description="also give the loss per group of documents: a name in their meta, such as decade"
    )
    prompts: tuple[str, ...] = Field(default=(), description="beginnings of samples; none: how test documents begin")
    samples: int = Field(default=3, ge=0, description="samples to draw when no prompts are given")
    sample_tokens: int = Field(default=100, ge=1, description="tokens of one sample, its prompt not counted")
    temperature: float = Field(default=0.8, ge=0, description="of the samples; 0: always the likeliest token")
    seed: int = Field(default=0, ge=0, description="of the samples")
    reference_tokens: int = Field(default=64, ge=2, description="length of the prompts that drift is later judged by")
    reference_windows: int = Field(default=512, ge=2, description="most prompts in the drift reference")
