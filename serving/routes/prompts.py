"""From what a request says to the token ids that its model continues: texts, token ids, or the messages of a chat.

In a chat only the template writes special tokens. A message that spells one (`<|im_end|>`) stays text, so that nobody
speaks for the system by writing so. Text takes the form that the training text had (line ends, Unicode). A tokenizer's
own first token goes before a text; in chats the template writes it. It renders and tokenizes; it knows no HTTP.
"""

import re
from typing import Any

from base.errors import MetrolineError
from serving.engines.decode.text import MOST_MARKS, too_many_marks
from serving.http.errors import invalid, too_long
from serving.routes.tool_calls import Arguments
from serving.runtime.decoder_model import DecoderModel

STAND_IN = re.compile("\ufdd0([0-9]{1,6})\ufdd1")
"""Between two code points that Unicode keeps out of text: the number of a special token that a message spells."""


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
    if served.template is None:
        message = f"{served.bundle.name} is not a chat model: its bundle has no chat template. Use /v1/completions."
        raise invalid(message, "model", "no_chat_template")
    special = served.vocabulary.special
    spelled = re.compile("|".join(re.escape(token) for token in sorted(special, key=len, reverse=True)) or r"(?!)")
    numbers = {token: number for number, token in enumerate(special)}

    def hide(value: Any) -> Any:
        if isinstance(value, str):
            return spelled.sub(lambda found: f"\ufdd0{numbers[found[0]]}\ufdd1", value)
        if isinstance(value, Arguments):
            return Arguments(hide(dict(value)), hide(str(value)))
        if isinstance(value, dict):
            return {hide(key): hide(inner) for key, inner in value.items()}
        return [hide(inner) for inner in value] if isinstance(value, list) else value

    names = list(special)

    def encoded(text: str) -> list[int]:
        shown = STAND_IN.sub(lambda found: names[int(found[1])] if int(found[1]) < len(names) else found[0], text)
        return served.vocabulary.encode(served.bundle.form.apply(shown))

    try:
        text = served.template.render(hide(messages), tools=hide(tools) if tools else None)
    except MetrolineError as error:
        raise invalid(f"The model's chat template refuses these messages: {error}", "messages") from None
    _formed(served, spelled.sub("", text), "messages")
    tokens: list[int] = []
    position = 0
    for found in spelled.finditer(text):
        tokens += encoded(text[position : found.start()])
        tokens.append(special[found[0]])
        position = found.end()
    tokens += encoded(text[position:])
    return fitting(served, tuple(tokens), "messages")


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
