"""The signature of a model: its typed inputs and outputs, all that serving needs to know of it.

    signature = Signature.load(bundle / "signature.json")
    signature.engine            # "forward": one call answers; "decode": token by token; "retrieve": an index answers
    signature.inputs[0].kind    # "image"

Raw bytes become an array in one function a kind, `data.codecs.decode`, which prepare and serving share; what follows
(resize, normalise, softmax, de-normalise) is inside the exported graph. Names of datatypes are those of the Open
Inference Protocol v2 (https://github.com/kserve/open-inference-protocol); -1 is a free length.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from base.errors import MetrolineError
from base.files import read_object, write_json

FILE = "signature.json"
Engine = Literal["forward", "decode", "retrieve"]
"""What runs a model: `pipelines/exporting/ENGINE.py` exports, `serving/engines/ENGINE` serves."""
Datatype = Literal["BOOL", "UINT8", "INT32", "INT64", "FP32", "BYTES"]


class _Part(BaseModel):
    """What every input and output has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"[a-z][a-z0-9_]*", description="of the graph's tensor, and in requests and answers")
    datatype: Datatype = "FP32"
    shape: tuple[int, ...] = Field(default=(), description="of one item, without the batch; -1: any length")


class Column(BaseModel):
    """One column of a table, with what prepare found in the train split."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    kind: Literal["number", "category"]
    categories: tuple[str, ...] = Field(default=(), description="of train, sorted; code 0 is for any other value")
    missing: bool = Field(default=False, description="train has rows without a value")
    example: float | str | None = Field(default=None, description="what a form shows at first: median, most frequent")
    minimum: float | None = None
    maximum: float | None = None


class TextInput(_Part):
    """UTF-8 text → token ids int64 [length] by the bundle's tokenizer.json; `length` at most."""

    kind: Literal["text"] = "text"
    datatype: Datatype = "INT64"
    length: int = Field(ge=1, description="tokens; longer text is refused")
    query_prefix: str = Field(default="", description="goes before a text that asks, where an embedder was trained so")
    document_prefix: str = Field(default="", description="goes before a text that is searched")
    mask: str = Field(default="", description="stands in a text once, for the token that is asked for; empty: nowhere")


class ImageInput(_Part):
    """JPEG or PNG bytes → uint8 [height, width, channels], turned as EXIF says."""

    kind: Literal["image"] = "image"
    datatype: Datatype = "UINT8"
    height: int = Field(ge=1, description="pixels that the network sees; other sizes are resized by pre.onnx")
    width: int = Field(ge=1)
    channels: Literal[1, 3] = 3
    max_pixels: int = Field(default=25_000_000, ge=1, description="of an encoded image; larger ones are refused")


class AudioInput(_Part):
    """WAV or FLAC bytes → float32 [samples], mono, at `rate` Hz."""

    kind: Literal["audio"] = "audio"
    rate: int = Field(ge=1, description="samples per second")
    seconds: float = Field(gt=0, description="longest clip; longer ones are refused")


class TableInput(_Part):
    """A row as a JSON object → float32 [columns]: numbers as they are (NaN: missing), categories as their codes."""

    kind: Literal["table"] = "table"
    columns: tuple[Column, ...] = Field(min_length=1)


class SeriesInput(_Part):
    """A list of numbers or rows of numbers, oldest first → float32 [context, channels]; null is missing (NaN)."""

    kind: Literal["series"] = "series"
    context: int = Field(ge=1, description="steps that the network sees")
    channels: tuple[str, ...] = Field(min_length=1)
    step: str = Field(default="", description="time between two steps, such as 1h")


class VectorInput(_Part):
    """A list of numbers → float32 [n]."""

    kind: Literal["vector"] = "vector"
    names: tuple[str, ...] = ()


class LabelsOutput(_Part):
    """Probabilities float32 [labels], in the order of `labels` → [{"label", "score"}], the likeliest first."""

    kind: Literal["labels"] = "labels"
    labels: tuple[str, ...] = Field(min_length=2)
    threshold: float | None = Field(default=None, description="two labels: the score of the second one from which on "
                                                               "it is the answer; null: the likeliest")  # fmt: skip
    top: int | None = Field(default=None, ge=1, description="so many are answered where a request does not say how "
                                                            "many; null: all")  # fmt: skip


class NumbersOutput(_Part):
    """Numbers float32 [names] → {name: number}."""

    kind: Literal["numbers"] = "numbers"
    names: tuple[str, ...] = Field(min_length=1)
    units: tuple[str, ...] = ()


class VectorOutput(_Part):
    """A vector float32 [n], such as an embedding → a list of numbers."""

    kind: Literal["vector"] = "vector"
    dimensions: tuple[int, ...] = Field(default=(), description="so many first numbers are embeddings by themselves, "
                                                                "where it was trained so (Matryoshka)")  # fmt: skip


class SeriesOutput(_Part):
    """The next steps float32 [horizon, channels, 1 + quantiles], the mean first → {channel: {"mean": [...],
    "0.1": [...]}}."""

    kind: Literal["series"] = "series"
    channels: tuple[str, ...] = Field(min_length=1)
    quantiles: tuple[float, ...] = Field(default=(), description="rising; half of all values are below that of 0.5")
    step: str = Field(default="", description="time between two steps, such as 1h")


class MaskOutput(_Part):
    """Probabilities float32 [labels, height, width] → [{"label", "score", "area", "mask"}], a PNG for each label."""

    kind: Literal["mask"] = "mask"
    labels: tuple[str, ...] = Field(min_length=2)


class BoxesOutput(_Part):
    """Rows float32 [most, 6] of x1, y1, x2, y2, score, label's place, the best first, in fractions of the image's
    sides; zeros: no box → [{"label", "score", "box"}] in pixels of the image that was sent."""

    kind: Literal["boxes"] = "boxes"
    labels: tuple[str, ...] = Field(min_length=1)
    iou: float = Field(gt=0, le=1, description="of two boxes of one label that overlap more, the graph drops the worse")
    least: float = Field(gt=0, lt=1, description="the graph drops boxes of a smaller score")
    threshold: float = Field(gt=0, lt=1, description="the score from which on a box is in the answer, unless a request "
                                                     "says another")  # fmt: skip


class TranscriptOutput(_Part):
    """Logarithms of probabilities float32 [frames, symbols] of each frame of a sound → {"text", "chunks"}: what is
    said, and when each word. Read as connectionist temporal classification (CTC) does, by `data.ctc`."""

    kind: Literal["transcript"] = "transcript"
    alphabet: tuple[str, ...] = Field(min_length=2, description="what each column is: characters, or words "
                                                       "with a space behind, and the blank")  # fmt: skip
    blank: int = Field(ge=0, description="the column that stands for no new character")
    step: float = Field(gt=0, description="seconds from one frame to the next")
    language: str = Field(default="", description="of the text, as ISO 639-1 has it; empty: not said")
    beam: int = Field(default=8, ge=1, description="readings that are followed at once; 1: the likeliest of each frame")
    weight: float = Field(default=0.0, ge=0, description="how much `grams` counts")
    grams: dict[str, tuple[float, ...]] = Field(
        default={}, description="n-gram of train's texts: the symbols before → logarithms of the probabilities of "
                                "each of the alphabet next; the longest that is there counts")  # fmt: skip


class TextOutput(_Part):
    """Text that is written token by token (engine `decode`)."""

    kind: Literal["text"] = "text"
    datatype: Datatype = "BYTES"


class PassagesOutput(_Part):
    """Passages of documents (engine `retrieve`) → [{"document", "start", "end", "text", "score"}], the best first."""

    kind: Literal["passages"] = "passages"
    datatype: Datatype = "BYTES"


Input = TextInput | ImageInput | AudioInput | TableInput | SeriesInput | VectorInput
Output = (
    LabelsOutput
    | NumbersOutput
    | VectorOutput
    | SeriesOutput
    | MaskOutput
    | BoxesOutput
    | TranscriptOutput
    | TextOutput
    | PassagesOutput
)


class Signature(BaseModel):
    """What goes in and what comes out. `task`: the name of the task in the words of Hugging Face's pipelines."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: Engine = "forward"
    task: str = Field(description="such as image-classification, tabular-regression, text-generation")
    inputs: tuple[Input, ...] = Field(min_length=1)
    outputs: tuple[Output, ...] = Field(min_length=1)

    def save(self, folder: Path) -> None:
        """Write `folder`/signature.json."""
        write_json(folder / FILE, self.model_dump(mode="json"))

    @classmethod
    def load(cls, path: Path) -> "Signature":
        """Read a signature.json. Raises MetrolineError: missing, damaged, or of a newer format."""
        try:
            return cls.model_validate(read_object(path))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise MetrolineError(f"{path}: {where}: {first['msg']}", hint="export the model again") from None
