"""Text, as a client sends it → token ids. Prepare and serving both use this one function."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from base.errors import BadItem
from data.signature import TextInput
from data.text.tokenizer import Tokenizer
from data.values import shown

LONGEST = 64
"""Most characters of a text for each token of `length`: beyond, it is refused before it is tokenized."""


def decode_text(input_: TextInput, raw: Any, tokenizer: Tokenizer) -> npt.NDArray[np.int64]:
    """A text (its UTF-8 bytes, or a tuple of its token ids) → token ids int64 [n], 1 to `length`, without special ones
    but for the one `mask`, where the input has such.

    Raises BadItem: no text, invalid UTF-8, empty, too long, no mask or several, token ids that no text has.
    """
    if isinstance(raw, tuple):
        _check_tokens(input_, raw, tokenizer)
        return _fitting(input_, raw)
    text = raw
    if isinstance(raw, bytes | bytearray | memoryview):
        try:
            text = bytes(raw).decode()
        except UnicodeDecodeError as error:
            raise BadItem(f"{input_.name}: invalid UTF-8 at byte {error.start:,}") from None
    if not isinstance(text, str):
        raise BadItem(f"{input_.name}: a text is needed, not {shown(text)}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadItem(f"{input_.name}: half a surrogate pair at character {error.start:,}") from None
    if len(text) > LONGEST * input_.length:
        raise BadItem(f"{input_.name}: {len(text):,} characters are more than {input_.length:,} tokens")
    tokens = _around_mask(input_, text, tokenizer) if input_.mask else tokenizer.encode(text)
    if not tokens:
        raise BadItem(f"{input_.name}: the text is empty")
    return _fitting(input_, tokens)


def _around_mask(input_: TextInput, text: str, tokenizer: Tokenizer) -> list[int]:
    """The tokens of a text with one `mask`, as `transformers` makes them: of what is before, it, of what follows."""
    before, *behind = text.split(input_.mask)
    if len(behind) != 1:
        raise BadItem(
            f"{input_.name}: {len(behind) or 'no'} {input_.mask} in the text, where one is asked for",
            hint=f"write {input_.mask} once, in place of the token to be found",
        )
    return [*tokenizer.encode(before), tokenizer.special[input_.mask], *tokenizer.encode(behind[0])]


def _fitting(input_: TextInput, tokens: Sequence[int]) -> npt.NDArray[np.int64]:
    if len(tokens) > input_.length:
        raise BadItem(f"{input_.name}: {len(tokens):,} tokens, more than {input_.length:,}")
    return np.asarray(tokens, np.int64)


def _check_tokens(input_: TextInput, tokens: tuple[int, ...], tokenizer: Tokenizer) -> None:
    if not tokens:
        raise BadItem(f"{input_.name}: the list of token ids is empty")
    if (wrong := next((token for token in tokens if not 0 <= token < tokenizer.vocab_size), None)) is not None:
        raise BadItem(f"{input_.name}: token ids are between 0 and {tokenizer.vocab_size - 1:,}, not {shown(wrong)}")
    names = {number: name for name, number in tokenizer.unwritten.items() if name != input_.mask}
    if input_.mask and (count := tokens.count(tokenizer.special[input_.mask])) != 1:
        raise BadItem(f"{input_.name}: {count or 'no'} {input_.mask} among the token ids, where one is asked for")
    if (wrong := next((token for token in tokens if token in names), None)) is not None:
        raise BadItem(f"{input_.name}: {wrong} is {names[wrong]}, which no text has: encode without special tokens")
