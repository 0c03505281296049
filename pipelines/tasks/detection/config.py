"""The keys of a recipe that only detection has."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from data.annotations import SUFFIXES
from data.folders import IMAGES

VALUES = ("map50", "map", "precision", "recall")
"""What is measured of the test split."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DetectionConfig(_Section):
    """Find the things in an image: a box around each, and what it is."""

    kind: Literal["detection"] = "detection"
    iou: float = Field(
        default=0.6, gt=0, le=1, description="of two boxes of one label that overlap more, one is dropped"
    )
    least: float = Field(default=0.05, gt=0, lt=1, description="the graph drops boxes of a smaller score")
    most: int = Field(default=100, ge=1, le=1000, description="boxes of an image")


class BoxesData(_Section):
    """Images, and boxes in Pascal VOC's XML (one an image) or COCO's JSON (one for many)."""

    kind: Literal["image-boxes"] = "image-boxes"
    images: str = Field(default="*", description="glob over the fetched files' paths; * also crosses folders")
    boxes: str = Field(default="*", description="the same: the .xml and .json files")
    lists: str = Field(
        default="",
        description="the same: text files of images' names, one a line; a file's name is the column `list` of "
        "split.by. Empty: `list` is the name of the file with the boxes",
    )
    labels: tuple[str, ...] = Field(min_length=1, description="in the order of the answers")
    height: int = Field(default=256, ge=1, description="pixels that the network sees; a multiple of what it halves")
    width: int = Field(default=256, ge=1)
    channels: Literal[1, 3] = 3
    mirror: bool = Field(default=False, description="training mirrors every other image")
    turn: bool = Field(default=False, description="training also turns every other one upside down")
    zoom: float = Field(default=0.0, ge=0, lt=1, description="most of the sides that training cuts off")
    jitter: float = Field(default=0.0, ge=0, lt=1, description="most relative change of brightness in training")

    @field_validator("labels")
    @classmethod
    def _differ(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(labels)) < len(labels):
            raise ValueError("a label is there twice")
        return labels

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings of the files that it reads; `("",)`: any."""
        return (*IMAGES, *SUFFIXES, *([".txt"] if self.lists else []))


class EvaluateConfig(_Section):
    """How the test split is scored."""

    primary: Literal["map50", "map"] = Field(
        default="map50", description="the value of `test.` that says how good a model is"
    )
