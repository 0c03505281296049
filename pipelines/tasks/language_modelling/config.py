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


class ExportConfig(BaseModel):
    """Which forms are exported and how closely they must agree with the checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    torchscript: bool = Field(default=True, description="also write model.ts (legacy: deprecated by PyTorch)")
    pt2: bool = Field(default=True, description="also write model.pt2 (torch.export)")
    batch_sizes: tuple[int, ...] = Field(default=(1, 3), min_length=1, description="batch sizes of the parity cases")
    lengths: tuple[int, ...] = Field(default=(1, 7, 64), min_length=1, description="new tokens of the parity cases")
    tolerance: float = Field(default=1e-3, gt=0, description="largest absolute difference of a logit")
    int4: bool = Field(default=False, description="also write model.int4.onnx (4-bit weights)")
    int8_tokens: int = Field(
        default=16384, ge=64, description="tokens of the test split that int8 and int4 are judged on"
    )
    calibration_tokens: int = Field(
        default=8192, ge=64, description="tokens of the validation split that int8 and int4 are calibrated on"
    )
    int8_tolerance: float = Field(default=0.02, gt=0, description="largest relative rise of the loss through int8")
    int4_tolerance: float = Field(default=0.05, gt=0, description="largest relative rise of the loss through int4")
