"""What a reranker makes of the chunks that a search by both found: it reads each with the question, the best is first.

A chunk that is longer than the reranker reads is read in parts, and its best part counts (MaxP: Dai and Callan 2019,
https://doi.org/10.1145/3331184.3331303); of a longer question its first tokens are read.
"""

from collections.abc import Callable, Sequence

from data.index.store import Hit


class Pairs:
    """The pairs of texts that a reranker is given for one question, and what its scores mean."""

    def __init__(self, question: str, texts: Sequence[str], cut: Callable[[str, int], str], lengths: tuple[int, int]):
        """`cut`: the first tokens of a text, as text; `lengths`: most tokens of a question and of a chunk."""
        question = cut(question, lengths[0])
        parts = [parted(text, lambda rest: cut(rest, lengths[1])) for text in texts]
        self._owners = [place for place, each in enumerate(parts) for _ in each]
        self.items = [(question, part) for each in parts for part in each]

    def best(self, scores: Sequence[float]) -> list[float]:
        """The score of each text out of those of `items`."""
        found: dict[int, float] = {}
        for owner, score in zip(self._owners, scores, strict=True):
            found[owner] = max(score, found.get(owner, score))
        return [found[place] for place in range(len(found))]


def parted(text: str, head: Callable[[str], str]) -> list[str]:
    """A text in parts, each the `head` of what is left, until nothing is; blank parts are left out, but one."""
    parts = [head(text)]
    while rest := text[sum(map(len, parts)) :]:
        parts.append(head(rest) or rest)
    return [part for part in parts if part.strip()] or parts[:1]


def ordered(hits: Sequence[Hit], scores: Sequence[float]) -> list[Hit]:
    """The hits with the reranker's scores, the best first, equal ones as they were."""
    found = [Hit(hit.number, score, hit.cosine) for hit, score in zip(hits, scores, strict=True)]
    return sorted(found, key=lambda hit: -hit.score)
