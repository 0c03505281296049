"""The section `export` of a recipe: one for each engine, whatever the task."""

from pydantic import BaseModel, ConfigDict, Field


class DecodeExport(BaseModel):
    """Which forms of a model of engine `decode` are exported, and how closely they must agree with the checkpoint."""

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
    adapters: int = Field(
        default=0, ge=0, le=64,
        description="room for so many adapters that are served over this model side by side; 0: none",
    )  # fmt: skip
    adapter_rank: int = Field(default=8, ge=8, le=128, multiple_of=8, description="the largest rank of these adapters")
    merged: bool = Field(
        default=True,
        description="false: `train.adapter` is released alone, to be served over the recipe that it began with",
    )


class ForwardExport(BaseModel):
    """Which forms of a model of engine `forward` are exported, and how closely they must agree with the checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    int8: bool = Field(default=True, description="also write model.int8.onnx")
    pt2: bool = Field(default=False, description="also write model.pt2 (torch.export)")
    batch_sizes: tuple[int, ...] = Field(default=(1, 3, 64), min_length=1, description="batch sizes of parity cases")
    lengths: tuple[int, ...] = Field(default=(1, 7, 40), min_length=1, description="tokens of the parity cases of text")
    tolerance: float = Field(default=1e-4, gt=0, description="largest difference of a probability or, relative to the "
                                                             "target's spread, of a number")  # fmt: skip
    int8_tolerance: float = Field(default=0.01, gt=0, description="largest loss of the primary metric through int8")
    int8_items: int = Field(default=2000, ge=16, description="items of the test split that int8 is judged on")
    calibration_items: int = Field(default=256, ge=16, description="items of valid that int8 is calibrated on")
    golden: int = Field(default=16, ge=1, description="raw test items with their answers that the bundle holds")
