"""Tokenizers: single characters, or byte-level BPE, both as one `tokenizer.json` of the tokenizers library.

`<|endoftext|>` is id 0 in both and ends every document. Text that spells out a special token is ordinary text: no
document or prompt can end a document. BPE codes any Unicode text; the character tokenizer knows the characters of the
train split, and gives `<unk>` (id 1) for others, which `prepare` counts in stats.json.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

END_OF_TEXT = "<|endoftext|>"
UNKNOWN = "<unk>"
EOS = 0


class TokenizerConfig(BaseModel):
    """Which tokenizer is made from the train split."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["bpe", "char"] = Field(default="bpe", description="byte-level BPE, or one token a character")
    vocabulary: int = Field(
        default=4096, ge=258, le=1 << 20, description="most tokens of a BPE; a small corpus may give fewer"
    )
    min_frequency: int = Field(default=2, ge=1, description="how often a BPE pair must occur to become a token")
