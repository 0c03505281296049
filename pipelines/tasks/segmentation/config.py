"""The keys of a recipe that only segmentation has."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from data.folders import IMAGES

VALUES = ("pixel_error", "dice", "mean_iou")
"""What is measured of the test split."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SegmentationConfig(_Section):
    """Say of each pixel which of some labels it has."""

    kind: Literal["segmentation"] = "segmentation"
    subject: str = Field(default="", description="the label whose overlap `test.dice` is of; empty: the last one")


class MasksData(_Section):
    """Images, and for each a mask (PNG) of the same name and size whose grey values are labels."""

    kind: Literal["image-masks"] = "image-masks"
    images: str = Field(default="*image*/*", description="glob over the fetched files' paths; * also crosses folders")
    masks: str = Field(default="*mask*/*", description="the same: the masks")
    labels: dict[str, int] = Field(description="label → its grey value in the masks, in the order of the answers")
    height: int = Field(default=256, ge=1, description="pixels that the network sees; a multiple of what it halves")
    width: int = Field(default=256, ge=1)
    channels: Literal[1, 3] = 3
    crop: int = Field(default=0, ge=0, description="side of the squares that training cuts out; 0: whole images")
    turn: bool = Field(default=False, description="training mirrors and turns by quarters: up and down are the same")
    jitter: float = Field(default=0.0, ge=0, lt=1, description="most relative change of brightness in training")

    @field_validator("labels")
    @classmethod
    def _differ(cls, labels: dict[str, int]) -> dict[str, int]:
        if len(labels) < 2 or len(set(labels.values())) < len(labels):
            raise ValueError("needs two labels or more, each with a grey value of its own")
        if not all(0 <= value <= 255 for value in labels.values()):
            raise ValueError("grey values are 0 to 255")
        return labels

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings of the files that it reads; `("",)`: any."""
        return IMAGES


class EvaluateConfig(_Section):
    """How the test split is scored."""

    primary: Literal["pixel_error", "dice", "mean_iou"] = Field(
        default="pixel_error", description="the value of `test.` that says how good a model is"
    )
