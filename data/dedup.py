"""Duplicates: equal documents by hash, near-equal ones by MinHash signatures in a locality-sensitive index.

Of documents that are alike the first in reading order stays, whatever the number of workers. Kept in memory: a digest
and a signature a document (under 2 KB at 128 permutations), never the text. Nothing here compares meaning.

Source: A. Broder, "On the resemblance and containment of documents", 1997; the index is datasketch's MinHashLSH.
"""

import re

from pydantic import BaseModel, ConfigDict, Field

WORD = re.compile(r"\w+")
BATCH = 8192  # shingles hashed at once: bounds memory for long documents (permutations x 4 bytes each)


class DedupConfig(BaseModel):
    """Which duplicates are dropped."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    exact: bool = Field(default=True, description="drop documents whose cleaned text is equal to an earlier one's")
    near: bool = Field(default=True, description="drop documents whose estimated resemblance reaches the threshold")
    threshold: float = Field(default=0.8, gt=0, le=1, description="Jaccard resemblance of the sets of shingles")
    permutations: int = Field(default=128, ge=16, le=1024, description="numbers in a signature: more, more exact")
    shingle: int = Field(default=5, ge=1, description="words in a shingle")
