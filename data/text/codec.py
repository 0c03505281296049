"""Text, as a client sends it → token ids. Prepare and serving both use this one function."""

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
    """A text (or its UTF-8 bytes) → token ids int64 [n], 1 to `length`, without special tokens.

    Raises BadItem: no text, invalid UTF-8, empty, too long.
    """
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
    tokens = tokenizer.encode(text)
    if not tokens:
        raise BadItem(f"{input_.name}: the text is empty")
    if len(tokens) > input_.length:
        raise BadItem(f"{input_.name}: {len(tokens):,} tokens, more than {input_.length:,}")
    return np.asarray(tokens, np.int64)
