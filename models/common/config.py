"""What the schemas of networks' keys have in common. Imports no torch."""

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Activation = Literal["sigmoid", "tanh", "relu", "leaky_relu", "gelu", "swish"]
"""What `models.common.activations` has."""


class ModelConfig(BaseModel):
    """A network's keys in a recipe's `model`. A subclass has `kind: Literal["its-name"]` with its name as default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def problems(self) -> Iterator[str]:
        """One line, opened by `model.key: `, for each value that a later stage would trip on."""
        return iter(())


class StatefulConfig(ModelConfig):
    """The keys of language models whose memory has a fixed size (`models.common.stateful`)."""

    vocab_size: int = Field(default=0, ge=0, description="0: filled in from the prepared data")
    context: int = Field(
        default=256,
        ge=1,
        description="longest text that is read from its beginning, in tokens; memory is bounded anyhow",
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="on embeddings and on what each layer gives")
