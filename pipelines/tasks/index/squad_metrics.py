"""How SQuAD judges an answer: exact match and F1 of tokens, after case, punctuation and articles are put aside.

As the official script does (https://rajpurkar.github.io/SQuAD-explorer/), and whether an answer is contained, which is
fairer to one that is a sentence.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def normal(text: str) -> str:
    """A text as answers are compared."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def contains(text: str, answers: Sequence[str]) -> bool:
    """Whether one of the answers stands in the text, word by word."""
    padded = f" {normal(text)} "
    return any(f" {normal(each)} " in padded for each in answers)


def exact(text: str, answers: Sequence[str]) -> float:
    """1 where the text is one of the answers, else 0."""
    return float(normal(text) in map(normal, answers))


def f1(text: str, answers: Sequence[str]) -> float:
    """The best answer's harmonic mean of the shares of shared tokens, 0 to 1."""
    return max(_f1(normal(text).split(), normal(each).split()) for each in answers)


def _f1(given: list[str], wanted: list[str]) -> float:
    common = sum((Counter(given) & Counter(wanted)).values())
    return 2 * common / (len(given) + len(wanted)) if common else 0.0
