"""What an encoder looks like: the keys of a recipe's `model: {kind: encoder}`. Imports no torch."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from models.common.config import ModelConfig


class EncoderConfig(ModelConfig):
    """A transformer that reads a whole text at once, and a linear layer on what it makes of it. BERT (Devlin et al.
    2019) by default; modern with `places: rope`, `norm: pre`, `activation: geglu` (Warner et al. 2024)."""

    kind: Literal["encoder"] = "encoder"
    layers: int = Field(default=6, ge=1)
    width: int = Field(default=384, ge=4, description="a multiple of heads")
    heads: int = Field(default=12, ge=1)
    hidden: int | None = Field(default=None, ge=4, description="units of the feed-forward network; default: 4 · width")
    context: int = Field(default=512, ge=2, description="most tokens of a text, [CLS] and [SEP] among them")
    vocabulary: int = Field(default=0, ge=0, description="rows of the embedding; 0: as many as there are tokens")
    types: int = Field(default=0, ge=0, description="embeddings of BERT's token types, of which the first is used")
    places: Literal["learned", "rope"] = "learned"
    norm: Literal["post", "pre"] = Field(default="post", description="behind each sum (BERT), or before each part")
    activation: Literal["gelu", "gelu_tanh", "geglu"] = "gelu"
    pooling: Literal["mean", "cls", "last"] = Field(
        default="mean", description="what the head is given: the mean of all tokens, the first, or the last one"
    )
    dropout: float = Field(default=0.1, ge=0, lt=1)
    norm_eps: float = Field(default=1e-12, gt=0)

    def problems(self) -> Iterator[str]:
        """See `ModelConfig`."""
        if self.width % self.heads:
            yield f"model.width: {self.width} is not a multiple of model.heads ({self.heads})"
        elif self.places == "rope" and self.width // self.heads % 2:
            yield f"model.places: rope needs an even width of heads, not {self.width // self.heads}"
