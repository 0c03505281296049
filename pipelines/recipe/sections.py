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
    """What stays in the model store, and how a new release takes the place of the live one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep: int = Field(default=5, ge=2, description="releases that are kept; live and previous always are")
    deploy: Literal["direct", "shadow", "canary"] = Field(
        default="direct",
        description="direct: live at once, where it answers; shadow: it first answers live requests for comparison "
        "alone; canary: it first answers some of them. A first release is always direct",
    )
    share: float | None = Field(
        default=None, gt=0, le=1, description="of the requests, for a candidate; null: 0.2 in shadow, 0.1 as canary"
    )
    sticky: Literal["request", "key"] = Field(
        default="request",
        description="what the share is drawn by: the request's id, or the caller's API key, which then has one version "
        "for all its requests (as has a client that sends X-Sticky-Key)",
    )
    requests: int = Field(default=500, ge=1, description="that are compared, at least, before a promotion")
    minutes: float = Field(default=60.0, gt=0, le=10080, description="after which an open decision is a rollback")
    differ: float = Field(
        default=0.1, ge=0, le=1, description="share of answers that may differ from the live release's; 1: any"
    )
    slower: float = Field(default=1.25, gt=1, le=100, description="times the live release's seconds that it may take")
