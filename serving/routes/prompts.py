"""From what a request says to the token ids that its model continues: texts, token ids, or the messages of a chat.

How a chat becomes tokens is `data.text.chat`'s, as in training. Text takes the form that the training text had (line
ends, Unicode). A tokenizer's own first token goes before a text; in chats the template writes it.
"""

from typing import Any

from base.errors import MetrolineError
from serving.engines.decode.text import MOST_MARKS, too_many_marks
from serving.http.errors import invalid, too_long
from serving.runtime.decoder_model import DecoderModel


def text_tokens(served: DecoderModel, text: str, param: str) -> tuple[int, ...]:
    """Tokens of a text. Raises ApiError 400 for more than the context holds, and characters that have no token."""
    vocabulary = served.vocabulary
    text = _formed(served, text, param)
    tokens = vocabulary.encode(text)
    if unknown := vocabulary.unknown_characters(text, tokens):
        raise invalid(f"This model has never seen these characters: {unknown[:20]}", param, "unknown_characters")
    return fitting(served, (*vocabulary.first, *tokens), param)


def fitting(served: DecoderModel, tokens: tuple[int, ...], param: str) -> tuple[int, ...]:
    """The tokens themselves. Raises ApiError 400 for ids outside of the vocabulary, or more than the context holds."""
    bundle = served.bundle
    if not all(0 <= token < bundle.vocab_size for token in tokens):
        raise invalid(f"token ids must be between 0 and {bundle.vocab_size - 1}", param)
    if len(tokens) > bundle.context:
        raise too_long(str(len(tokens)), bundle.context, param)
    return tokens


def chat_tokens(
    served: DecoderModel, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None
) -> tuple[int, ...]:
    """Tokens of a chat up to where the assistant answers.

    Raises ApiError 400: no template, one that refuses these messages, more tokens than the context holds.
    """
    chats = served.chats
    if chats is None:
        message = f"{served.bundle.name} is not a chat model: its bundle has no chat template. Use /v1/completions."
        raise invalid(message, "model", "no_chat_template")
    try:
        text = chats.render(messages, tools)
    except MetrolineError as error:
        raise invalid(f"The model's chat template refuses these messages: {error}", "messages") from None
    _formed(served, chats.plain(text), "messages")
    return fitting(served, chats.tokens(text), "messages")


def _formed(served: DecoderModel, text: str, param: str) -> str:
    """The text in the training text's form. Raises ApiError 400 for one that would hold up all streams while it is
    tokenized: a megabyte, or marks without end.
    """
    if (at := too_many_marks(text)) is not None:
        raise invalid(f"more than {MOST_MARKS} combining marks in a row, up to position {at}", param)
    text = served.bundle.form.apply(text)
    if (least := served.vocabulary.least_tokens(text)) > served.bundle.context:
        raise too_long(f"at least {least}", served.bundle.context, param)
    return text
