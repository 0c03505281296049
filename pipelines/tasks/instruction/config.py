"""The keys of a recipe that only instruction tuning has; how rows become chats is data/text/chat_rows.py's."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class InstructionConfig(BaseModel):
    """Learn to answer as given chats do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["instruction"] = "instruction"
    pack: bool = Field(
        default=True,
        description="fill a sequence with as many chats as fit, none of which sees another; false: one chat each",
    )


class PlainText(BaseModel):
    """Ordinary text on which forgetting is measured: none of the data, not learnt, and the same for every recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(
        default="data/examples/speeches/1941-Roosevelt.txt", description="a UTF-8 text, relative to the project"
    )
    sha256: str = Field(
        default="7c850902f28f121314c5f1398d959e19d9eb04bb33bdf642a637ce9f586ee5a4", pattern="^[0-9a-f]{64}$"
    )
    tokens: int = Field(default=4096, ge=64, description="how many of its first tokens are scored")
    context: int = Field(default=512, ge=2, description="tokens of it that a window shows")


class EvaluateConfig(BaseModel):
    """How the test split is scored, always against the weights that training began with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    resamples: int = Field(default=10_000, ge=100, description="of the bootstrap over test chats")
    confidence: float = Field(default=0.95, gt=0, lt=1, description="of the interval gain_low to gain_high")
    seed: int = Field(default=0, ge=0, description="of the bootstrap")
    answers: int = Field(default=64, ge=1, description="test chats, over the whole split, whose answers are generated")
    answer_tokens: int = Field(default=128, ge=1, description="tokens within which an answer must end by itself")
    samples: int = Field(default=5, ge=0, description="generated answers shown in the model card")
    batch: int = Field(default=16, ge=1, description="answers generated at once")
    plain_text: PlainText = PlainText()
    reference_tokens: int = Field(default=64, ge=2, description="length of the prompts that drift is later judged by")
    reference_windows: int = Field(default=512, ge=2, description="most prompts in the drift reference")
