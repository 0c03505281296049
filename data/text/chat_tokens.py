"""Second pass of preparing chats: messages → a model's own tokens, and which of them are learnt."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from base.errors import MetrolineError
from base.files import read_object
from data.text.chat import Chats, JoinedTokens
from data.text.chat_rows import ChatRow, ChatRowsConfig
from data.text.templates import ChatTemplate
from data.text.text_form import TextForm
from data.text.tokenizer import Tokenizer
from data.text.traces import Message, as_read


class Encoded(NamedTuple):
    """Its tokens and which of them are learnt, [n] each."""

    tokens: npt.NDArray[np.uint32]
    mask: npt.NDArray[np.uint8]


class Refused(NamedTuple):
    """Why a chat cannot be learnt from."""

    reason: str
    detail: str


def load_chats(folder: Path, form: TextForm) -> tuple[Chats, frozenset[int]]:
    """How a model's folder writes chats, and the tokens that end an answer. Raises MetrolineError: it has no template,
    or no such token."""
    template = ChatTemplate.load(folder)
    if template is None:
        raise MetrolineError(
            "the pretrained weights have no chat template, so it is not known how a chat is written for them",
            hint="take an instruction-tuned model's (-Instruct, -it, -chat)",
        )
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    found = read_object(folder / "generation_config.json").get("eos_token_id")
    ends = [token for token in (found if isinstance(found, list) else [found]) if isinstance(token, int)]
    return Chats(template, tokenizer.special, tokenizer.encode, form), frozenset(ends)


def encode_batch(folder: Path, config: ChatRowsConfig, batch: list[ChatRow]) -> list[list[Encoded] | Refused]:
    """Each row's chats as tokens and mask, or why it cannot be learnt from. Runs in a worker. Raises MetrolineError
    for a template that cannot be trained on, naming the row that shows it."""
    chats, ends = _chats(folder, config.clean)
    return [_encoded_row(chats, ends, config, row) for row in batch]


@lru_cache(maxsize=1)
def _chats(folder: Path, form: TextForm) -> tuple[Chats, frozenset[int]]:
    return load_chats(folder, form)


def _encoded_row(chats: Chats, ends: frozenset[int], config: ChatRowsConfig, row: ChatRow) -> list[Encoded] | Refused:
    found = []
    if row.tools and not chats.template.shows_tools:
        raise MetrolineError(
            f"{row.id}: it has tools, and the weights' chat template has no place for them",
            hint="data.template: hermes",
        )
    for messages in row.chats:
        encoded = _encoded(chats, ends, config, row, messages)
        if isinstance(encoded, Refused):
            return encoded
        found.append(encoded)
    return found


def _encoded(
    chats: Chats, ends: frozenset[int], config: ChatRowsConfig, row: ChatRow, given: list[Message]
) -> Encoded | Refused:
    messages, tools = [as_read(message) for message in given], row.tools or None
    try:
        chats.render(messages, tools)
    except MetrolineError as error:
        return Refused("template_refuses", str(error))
    try:
        example = chats.example(messages, ends, config.learnt(given), tools)
    except JoinedTokens as error:
        return Refused("joined_tokens", str(error))
    except MetrolineError as error:
        raise MetrolineError(f"{row.id}: {error}") from None
    if len(example.tokens) > config.length:
        return Refused("too_long", f"{len(example.tokens):,} tokens, more than data.length ({config.length:,})")
    mask = np.zeros(len(example.tokens), np.uint8)
    for begin, end in example.answers:
        mask[begin:end] = 1
    return Encoded(np.asarray(example.tokens, np.uint32), mask)
