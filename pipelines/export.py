"""Stage `export`: turn the checkpoint into the bundle, and prove that every exported form computes the same.

    metroline stage export speeches

A bundle whose parity is out of bounds is not written at all. Gates and the model store are `pipelines/release.py`.
"""

from pydantic import BaseModel, ConfigDict, Field


class ExportConfig(BaseModel):
    """Which forms are exported and how closely they must agree with the checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    torchscript: bool = Field(
        default=True, description="also write model.ts (legacy: TorchScript is deprecated upstream)"
    )
    pt2: bool = Field(default=True, description="also write model.pt2 (torch.export)")
    batch_sizes: tuple[int, ...] = Field(default=(1, 3), min_length=1, description="batch sizes of the parity cases")
    lengths: tuple[int, ...] = Field(default=(1, 7, 64), min_length=1, description="new tokens of the parity cases")
    tolerance: float = Field(default=1e-3, gt=0, description="largest absolute difference of a logit")
    int8_tokens: int = Field(default=16384, ge=64, description="tokens of the test split that int8 is judged on")
    int8_tolerance: float = Field(default=0.02, gt=0, description="largest relative rise of the loss through int8")
