"""The sections of a recipe that are the same for every task; `train` has a module of its own."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from data.fetch.sources import Source


class ServingConfig(BaseModel):
    """How the endpoint serves this recipe; written into the bundle as `serving.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_tokens: int = Field(default=256, ge=1, description="most tokens that one request may ask for (text only)")
    precision: Literal["auto", "fp32", "int8", "int4"] = Field(
        default="int8", description="which graph of the bundle answers; auto: the fastest on the machine that serves"
    )


class PretrainedConfig(BaseModel):
    """Weights that others have trained: the first weights. With `train: {}` they are imported as they are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Source | None = Field(
        default=None,
        description="one .gguf file (Llama) or the files of a Hugging Face folder (Llama, Qwen3, Arcee, GPT-2; "
        "safetensors); null: weights are trained",
    )


class ReleaseConfig(BaseModel):
    """What stays in the model store."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep: int = Field(default=5, ge=2, description="releases that are kept; live and previous always are")
