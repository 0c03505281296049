"""The keys of a recipe that classification and regression share: data, evaluate, export."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from data.folders import AUDIO, IMAGES, FoldersConfig
from data.tables.config import RowsConfig, suffixes_of
from data.text.tokenizer import TokenizerConfig


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TableData(_Section):
    """Rows of columns; an example is a row, its input all columns but the target."""

    kind: Literal["table"] = "table"
    rows: RowsConfig = RowsConfig()
    target: str = Field(description="the column to predict")
    labels: tuple[str, ...] = Field(default=(), description="in order; empty: those of train, naturally sorted")
    drop: tuple[str, ...] = Field(default=(), description="columns that are no input, such as a row's number")
    kinds: dict[str, Literal["number", "category"]] = Field(default={}, description="of columns, where they mislead")
    bins: int = Field(default=0, ge=0, le=256, description="quantiles of train that each number is also coded by")

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings of the files that it reads; `("",)`: any."""
        return suffixes_of(self.rows)


class ImagesData(_Section):
    """PNG and JPEG files and the label that their path tells."""

    kind: Literal["images"] = "images"
    folders: FoldersConfig = FoldersConfig()
    labels: tuple[str, ...] = Field(default=(), description="in order; empty: those of train, naturally sorted")
    height: int = Field(default=32, ge=1, description="pixels that the network sees")
    width: int = Field(default=32, ge=1)
    channels: Literal[1, 3] = 3
    mean: tuple[float, ...] = Field(
        default=(),
        description="what pixels (0 to 255) of each channel are standardised "
        "by, where pretrained weights need their own; one number: all; empty: train's",
    )
    std: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(), description="the same: the spread")
    flip: bool = Field(default=False, description="training mirrors every other image")
    shift: int = Field(default=0, ge=0, description="most pixels by which training moves an image")
    cutout: int = Field(default=0, ge=0, description="side of the square that training blanks")
    jitter: float = Field(default=0.0, ge=0, lt=1, description="most relative change of brightness in training")

    @model_validator(mode="after")
    def _one_constant_a_channel(self) -> "ImagesData":
        if len(self.mean) != len(self.std) or len(self.mean) not in (0, 1, self.channels):
            raise ValueError(f"mean and std take one number, or one of each of the {self.channels} channels")
        return self

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings of the files that it reads; `("",)`: any."""
        return IMAGES


class AudioData(_Section):
    """WAV and FLAC files and the label that their path tells; the network sees a log-mel spectrogram."""

    kind: Literal["audio"] = "audio"
    folders: FoldersConfig = FoldersConfig()
    labels: tuple[str, ...] = Field(default=(), description="in order; empty: those of train, naturally sorted")
    rate: int = Field(default=16_000, ge=1000, le=192_000, description="samples per second; clips are resampled to it")
    seconds: float = Field(default=10.0, gt=0, le=600, description="longest clip; longer ones are refused")
    window: float = Field(default=1.0, gt=0, le=60, description="seconds that the network hears, from the beginning on")
    mels: int = Field(default=40, ge=4, le=256, description="bands of the spectrogram")
    speed: float = Field(default=0.0, ge=0, lt=0.5, description="most relative change of speed and pitch in training")
    shift: float = Field(default=0.0, ge=0, description="most seconds of silence that training puts before a clip")
    volume: float = Field(default=0.0, ge=0, le=40, description="most decibels by which training changes the volume")
    noise: float = Field(default=0.0, ge=0, lt=1, description="most noise that training adds; full volume is 1")

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings of the files that it reads; `("",)`: any."""
        return AUDIO


class TextData(_Section):
    """One text and its label a row."""

    kind: Literal["text"] = "text"
    rows: RowsConfig = RowsConfig()
    text: str = Field(default="text", description="the column with the text")
    target: str = Field(default="label", description="the column to predict")
    labels: tuple[str, ...] = Field(default=(), description="in order; empty: those of train, naturally sorted")
    lowercase: bool = Field(default=False, description="the tokenizer makes no difference of case")
    length: int = Field(default=128, ge=1, description="most tokens of a text")
    tokenizer: TokenizerConfig = TokenizerConfig(vocabulary=4096)

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings of the files that it reads; `("",)`: any."""
        return suffixes_of(self.rows)


DataConfig = Annotated[TableData | ImagesData | AudioData | TextData, Field(discriminator="kind")]


class EvaluateConfig(_Section):
    """How the test split is scored."""

    primary: str = Field(default="", description="the value of `test.` that says how good a model is; empty: the "
                                                 "task's own")  # fmt: skip
    groups: tuple[str, ...] = Field(default=(), description="also give the values per group: columns of the table")
    resamples: int = Field(default=200, ge=10, description="bootstrap samples of the intervals")
    references: bool = Field(default=True, description="also fit stronger models of scikit-learn, for the card")
    reference_rows: int = Field(default=20_000, ge=100, description="most rows of train that these are fitted on")
