"""What `prepare` counts, as stats.json tells it. Holds a few numbers a document, never text."""

from array import array
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from data.split import SPLITS
from data.text.tokenizer import Tokenizer

TOP = 50  # most frequent tokens listed


class Statistics:
    """Counters of one run of `prepare`."""

    def __init__(self) -> None:
        self.read = 0
        self.dropped: Counter[str] = Counter()
        self.characters: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()  # characters that tokens do not give back
        self.lengths = {split: array("q") for split in SPLITS}  # tokens of each document, with its end of text
        self._counts: npt.NDArray[np.int64] = np.zeros(0, np.int64)

    def encoded(self, split: str, text: str, tokens: npt.NDArray[Any], tokenizer: Tokenizer) -> None:
        """Count one document's `tokens` [n], without end of text."""
        if not len(self._counts):
            self._counts = np.zeros(tokenizer.vocab_size, np.int64)
        self.lengths[split].append(len(tokens) + 1)
        self.characters[split] += len(text)
        counts = np.bincount(tokens, minlength=tokenizer.vocab_size)
        if tokenizer.unknown is not None:
            self.unknown[split] += int(counts[tokenizer.unknown])
        if split == "train":
            self._counts += counts

    def reasons(self) -> str:
        """`too_short 12, empty 3`, the most frequent first."""
        return ", ".join(f"{reason} {count:,}" for reason, count in self._by_count())

    def _by_count(self) -> list[tuple[str, int]]:
        return sorted(self.dropped.items(), key=lambda entry: (-entry[1], entry[0]))

    def as_dict(self, splits: dict[str, dict[str, Any]], tokenizer: Tokenizer, kind: str, files: int) -> dict[str, Any]:
        """The content of stats.json; `splits` are the shard writers' entries."""
        top = sorted(np.flatnonzero(self._counts).tolist(), key=lambda token: (-self._counts[token], token))[:TOP]
        all_lengths = np.concatenate([np.asarray(lengths) for lengths in self.lengths.values()])
        edges = [0, *(2**power for power in range(int(all_lengths.max()).bit_length() + 1))]
        return {
            "files": files,
            "documents": {
                "read": self.read,
                "kept": self.read - self.dropped.total(),
                "dropped": dict(self._by_count()),
            },
            "splits": {split: self._split(split, entry) for split, entry in splits.items()},
            "tokenizer": {
                "kind": kind,
                "vocab_size": tokenizer.vocab_size,
                "occur_in_train": int(np.count_nonzero(self._counts)),
            },
            "tokens_per_document": {"edges": edges, "counts": np.histogram(all_lengths, edges)[0].tolist()},
            "top_tokens": [
                {"token": token, "text": tokenizer.spell(token), "count": int(self._counts[token])} for token in top
            ],
        }

    def _split(self, split: str, entry: dict[str, Any]) -> dict[str, Any]:
        counted: dict[str, Any] = {
            name: entry[name] for name in ("documents", "tokens", "bytes", "targets") if name in entry
        }
        lengths = np.asarray(self.lengths[split])
        if not len(lengths):
            return counted
        return counted | {
            "characters": self.characters[split],
            "unknown_tokens": self.unknown[split],
            "bytes_per_token": round(entry["bytes"] / entry["tokens"], 4),
            "tokens_per_document": {
                "min": int(lengths.min()),
                "median": float(np.median(lengths)),
                "mean": round(float(lengths.mean()), 1),
                "max": int(lengths.max()),
            },
        }
