"""The sections of a recipe that are the same for every task; `train` has a module of its own."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from data.fetch.sources import FileSource, HttpsSource, HubSource, PypiSource


class ServingConfig(BaseModel):
    """How the endpoint serves this recipe; written into the bundle as `serving.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_tokens: int = Field(default=256, ge=1, description="most tokens that one request may ask for (text only)")
    precision: Literal["auto", "fp32", "int8", "int4"] = Field(
        default="int8", description="which graph of the bundle answers; auto: the fastest on the machine that serves"
    )


class OwnSource(BaseModel):
    """What another recipe of this project makes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, description="the other recipe, which is run first")


class RecipeSource(OwnSource):
    """The checkpoint of another recipe of this project. params.yaml names both below `bases`, for DVC."""

    kind: Literal["recipe"]


class ReleaseSource(OwnSource):
    """The released bundle of another recipe of this project. params.yaml names both below `releases`, for DVC."""

    kind: Literal["release"]


FirstWeights = Annotated[
    PypiSource | HttpsSource | HubSource | FileSource | RecipeSource | ReleaseSource, Field(discriminator="kind")
]


class PretrainedConfig(BaseModel):
    """The first weights: of others, or another recipe's. With `train: {}` they are imported as they are; a `train` with
    keys goes on from them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: FirstWeights | None = Field(
        default=None,
        description="one .gguf file (Llama) or the files of a Hugging Face folder (Llama, Qwen3, Arcee, GPT-2; "
        "safetensors), or what the network of `model` takes, or another recipe or its release; null: they are drawn",
    )
    freeze: bool = Field(
        default=False, description="only the head learns, which is new; the weights of others stay as they are"
    )


class ReleaseConfig(BaseModel):
    """What stays in the model store."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep: int = Field(default=5, ge=2, description="releases that are kept; live and previous always are")
