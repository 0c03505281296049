"""The first tokens of a text, as text: where a longer one is to be cut, since somebody asked for that."""

from data.text.tokenizer import Tokenizer


def first_tokens(text: str, most: int, tokenizer: Tokenizer) -> str:
    """The beginning of `text` that is `most` tokens, or all of it where it has no more. It ends behind a token, which
    may be inside a word."""
    inner = tokenizer.inner
    head = text
    while True:
        offsets = inner.encode(head, add_special_tokens=False).offsets
        if len(offsets) <= most:
            return head
        head = head[: offsets[most - 1][1]]
        if len(inner.encode(head, add_special_tokens=False)) > most:  # the piece of a word that is left has more
            most_now = offsets[max(0, most - 2)][1]
            head = head[: min(most_now, len(head) - 1)]
