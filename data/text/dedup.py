"""Duplicates: equal documents by hash, near-equal ones by MinHash signatures in a locality-sensitive index.

Of documents that are alike the first in reading order stays, whatever the number of workers. Kept in memory: a digest
and an indexed signature a document (6.5 KB at 128 permutations; 0.2 KB without `near`), never the text.

Source: A. Broder, "On the resemblance and containment of documents", 1997; the index is datasketch's MinHashLSH.
"""

import hashlib
import re
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from datasketch import MinHash

WORD = re.compile(r"\w+")
BATCH = 4096  # shingles hashed at once: 2 MB at 128 permutations, however long a document is
SCHEME: Any = "affine32"  # datasketch's permutations of 32-bit hashes
SEED = 1
# With these weights the index proposes 95 % of the pairs whose resemblance is 0.8 (with datasketch's own 0.5 and 0.5:
# 40 %); what it proposes wrongly costs one comparison of two signatures.
FALSE_ALARMS_AND_MISSES = (0.05, 0.95)

Signature = npt.NDArray[np.uint32]  # [permutations]


class DedupConfig(BaseModel):
    """Which duplicates are dropped."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    exact: bool = Field(default=True, description="drop documents whose cleaned text is equal to an earlier one's")
    near: bool = Field(default=True, description="drop documents whose estimated resemblance reaches the threshold")
    threshold: float = Field(default=0.8, gt=0, le=1, description="Jaccard resemblance of the sets of shingles")
    permutations: int = Field(default=128, ge=16, le=1024, description="numbers in a signature: more, more exact")
    shingle: int = Field(default=5, ge=1, description="words in a shingle")


def signature(text: str, config: DedupConfig) -> Signature:
    """MinHash signature [permutations] of a text's set of shingles: runs of `shingle` words, in lower case.

    A text of fewer words is one shingle; a text without words is a shingle of itself.
    """
    hashes = _shingles(text, config.shingle)
    sketch = _empty(config.permutations).copy()
    for start in range(0, len(hashes), BATCH):
        sketch.update_batch(hashes[start : start + BATCH])
    return sketch.hashvalues


def _shingles(text: str, length: int) -> list[int]:
    """The different 32-bit hashes of a text's shingles, sorted. Equal on every machine (unlike Python's `hash`)."""
    words = WORD.findall(text.lower()) or [text]
    codes = np.fromiter((zlib.crc32(word.encode()) for word in words), np.uint64, len(words))
    length = min(length, len(codes))
    # A polynomial over the words' codes, modulo 2^64; the upper half is the better mixed one.
    shingles = np.zeros(len(codes) - length + 1, np.uint64)
    for place in range(length):
        shingles = shingles * np.uint64(0x9E3779B97F4A7C15) + codes[place : place + len(shingles)]
    shingles *= np.uint64(0xBF58476D1CE4E5B9)
    return np.unique(shingles >> np.uint64(32)).tolist()


@lru_cache
def _empty(permutations: int) -> "MinHash":
    from datasketch import MinHash

    return MinHash(num_perm=permutations, seed=SEED, hashfunc=int, scheme=SCHEME)


class Duplicates:
    """Remembers documents in reading order and names the earlier one that a new document repeats."""

    def __init__(self, config: DedupConfig) -> None:
        self.config = config
        self._ids: list[str] = []
        self._exact: dict[bytes, int] = {}
        self._signatures: list[Signature] = []
        if config.near:
            from datasketch import MinHashLSH

            self._index = MinHashLSH(config.threshold, config.permutations, weights=FALSE_ALARMS_AND_MISSES)

    def check(self, identity: str, text: str, sketch: Signature | None) -> tuple[str, str] | None:
        """(`exact_duplicate` or `near_duplicate`, the earlier document's id), or None: the document is remembered.

        `sketch` is the text's `signature`, needed when near duplicates are looked for.
        """
        number = len(self._ids)  # kept documents so far
        digest = hashlib.sha256(text.encode()).digest()[:16]
        if self.config.exact and digest in self._exact:
            return "exact_duplicate", self._ids[self._exact[digest]]
        if self.config.near:
            if sketch is None:
                raise ValueError("near duplicates need signatures")
            from datasketch import LeanMinHash

            found = LeanMinHash(seed=SEED, hashvalues=sketch, scheme=SCHEME)
            # The index proposes; the share of equal places in two signatures, which estimates resemblance, decides.
            for earlier in sorted(self._index.query(found)):
                if np.mean(self._signatures[earlier] == sketch) >= self.config.threshold:
                    return "near_duplicate", self._ids[earlier]
            self._index.insert(number, found, check_duplication=False)
            self._signatures.append(sketch)
        if self.config.exact:
            self._exact[digest] = number
        self._ids.append(identity)
        return None
