"""Prompts and given answers out of token shards: a document is cut behind the first `prompt_end`."""

from typing import NamedTuple

from base.errors import MetrolineError
from data.text.shards import Shards
from data.text.tokenizer import Tokenizer


class Prompt(NamedTuple):
    """What is asked, and what the data answers."""

    tokens: list[int]
    """With the end-of-text token in front, from which text begins."""
    given: list[int]
    """With the end of text."""
    text: str
    answer: str


def read(shards: Shards, tokenizer: Tokenizer, prompt_end: str) -> list[Prompt]:
    """All documents of a split. Raises MetrolineError: one without `prompt_end`, with nothing behind it, or with a
    token that reaches across."""
    found = []
    for number in range(len(shards)):
        document = shards.document(number).tolist()
        tokens = document[len(shards.first) : -1]
        text = tokenizer.decode(tokens)
        begin, border, answer = text.partition(prompt_end)
        where = f"{shards.split} document {number + 1}"
        if not border or not answer.strip():
            lacks = "answer behind" if border else "prompt that ends with"
            raise MetrolineError(
                f"{where} has no {lacks} {prompt_end!r}: {text[:40]!r}",
                hint="task.prompt_end says where an answer begins",
            )
        asked = tokenizer.encode(begin + border)
        if tokens[: len(asked)] != asked:
            raise MetrolineError(
                f"{where}: a token holds the end of the prompt and the beginning of the answer: {text[:40]!r}",
                hint="take another task.prompt_end, or a tokenizer with fewer tokens",
            )
        before = list(shards.first) or [shards.eos]
        found.append(Prompt(before + asked, document[len(shards.first) + len(asked) :], begin + border, answer))
    return found
