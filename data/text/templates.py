"""A model's chat template: messages → the text that the model was trained to answer.

    template = ChatTemplate.load(Path("bundle"))                  # None for a model that has none
    prompt = template.render([{"role": "user", "content": "Hi"}])

A template comes with the weights, so it is a stranger's code: `data.text.template_sandbox` is where it runs, and
bounds it. Templates see what `transformers` gives them: messages, tools, add_generation_prompt, the special tokens'
texts, raise_exception, strftime_now, tojson, break and continue, and the block `generation`. It knows no tokens: what
becomes of text that spells out a special token is for the caller to decide.
"""

import re
from pathlib import Path
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError

from base.errors import MetrolineError
from base.files import read_object, write_text
from data.text.own_templates import TEMPLATES
from data.text.template_sandbox import LONGEST_TEXT, budget, compiled
from data.text.tokenizer import Tokenizer

FILE = "chat_template.jinja"
LONGEST_TEMPLATE = 1 << 18  # characters; the longest published ones have some 20,000
SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")


class ChatTemplate:
    """One template, compiled. `special`: texts of bos_token and its like. Raises MetrolineError for a bad template."""

    def __init__(self, source: str, special: dict[str, str] | None = None) -> None:
        if len(source) > LONGEST_TEMPLATE:
            raise MetrolineError(f"chat template: {len(source):,} characters are more than {LONGEST_TEMPLATE:,}")
        self.source, self.special = source, special or {}
        self.has_marks = re.search(r"\{%-?\+?\s*generation\b", source) is not None
        """Whether it marks what the assistant said, with blocks `generation`."""
        self.shows_tools = re.search(r"\btools\b", source) is not None
        """Whether it has a place for definitions of tools."""
        try:
            self._template = compiled(source)
        except TemplateSyntaxError as error:
            raise MetrolineError(f"chat template, line {error.lineno}: {_line(error)}") from None
        except (TemplateError, SyntaxError, RecursionError, ValueError) as error:
            raise MetrolineError(f"chat template: {_line(error)}") from None

    @classmethod
    def load(cls, folder: Path) -> "ChatTemplate | None":
        """The template of a model's folder, None where it has none. Raises MetrolineError when it is damaged."""
        path = folder / FILE
        if not path.is_file():
            return None
        try:
            source = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise MetrolineError(f"{path}: cannot be read: {error}") from None
        settings = read_object(folder / "tokenizer_config.json")
        special = {name: settings[name] for name in SPECIAL if isinstance(settings.get(name), str)}
        try:
            return cls(source, special)
        except MetrolineError as error:
            raise MetrolineError(f"{path}: {error}") from None

    def render(
        self,
        messages: list[dict[str, Any]],
        *,
        tools: list[dict[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        marks: bool = False,
    ) -> str:
        """The prompt's text. Raises MetrolineError: the template refuses the messages, fails, or does not end.

        `messages` and `tools` are as OpenAI's API has them. `add_generation_prompt`: end with the opening of an answer.
        `marks`: show where blocks `generation` begin and end, by data.text.template_sandbox.MARKS.
        """
        given = {"messages": messages, "tools": tools, "documents": None} | self.special
        pieces: list[str] = []
        length = 0
        try:
            with budget(marks=marks):
                for piece in self._template.generate(**given, add_generation_prompt=add_generation_prompt):
                    pieces.append(piece)
                    length += len(piece)
                    if length > LONGEST_TEXT:
                        raise MetrolineError(f"chat template: it writes more than {LONGEST_TEXT:,} characters")
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise MetrolineError(f"chat template: {_line(error)}") from None
        except (RecursionError, MemoryError) as error:
            raise MetrolineError(f"chat template: {type(error).__name__}") from None
        return "".join(pieces)


def put_template(name: str, tokenizer: Tokenizer, folder: Path) -> None:
    """Give a model's folder one of the templates that come with this package, instead of its own.

    Raises MetrolineError: the tokenizer has not the special tokens that it writes.
    """
    source = TEMPLATES[name]
    if missing := sorted(set(re.findall(r"<\|\w+\|>", source)) - set(tokenizer.special)):
        raise MetrolineError(
            f"data.template {name}: the weights' tokenizer has no special token {' and '.join(missing)}",
            hint="take weights that were trained on ChatML, or data.template: pretrained",
        )
    write_text(folder / FILE, source)


def _line(error: Exception) -> str:
    message = " ".join(str(getattr(error, "message", None) or error).split())
    return message[:500] or type(error).__name__
