"""The messages of a chat as a model's tokens: the same for training and for the endpoint.

    chats = Chats(template, tokenizer.special, tokenizer.encode, form)
    chats.prompt(messages)                          # up to where the assistant answers, as the endpoint has it
    chats.example(messages, ends={2}, trained=[2])  # with the answers, and which tokens are learnt

Only the template writes special tokens. A message that spells one (`<|im_end|>`) stays text, so that nobody speaks for
the system by writing so. Text takes the form that all text has (line ends, Unicode).

What is learnt of an answer begins where a prompt would have ended and includes the token that ends the answer, not what
the template writes after it. Where it begins is told by prefixes: the tokens of the messages before it must begin those
of all. A template with `{% generation %}` marks tells it a second time; the two must agree.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from base.errors import MetrolineError
from data.text.template_sandbox import MARKS
from data.text.templates import ChatTemplate
from data.text.text_form import TextForm
from data.text.tools import Arguments, Tools

STAND_IN = re.compile("\ufdd0([0-9]{1,6})\ufdd1")
"""Between two code points that Unicode keeps out of text: the number of a special token that a message spells."""
Span = tuple[int, int]
Messages = Sequence[Mapping[str, Any]]


class JoinedTokens(MetrolineError):
    """An answer whose first characters the tokenizer joins with the last of the prompt: no prompt leads to it."""


@dataclass(frozen=True)
class Example:
    """A chat with its answers, up to the last token that is learnt."""

    tokens: tuple[int, ...]
    answers: tuple[Span, ...]
    """[begin, end) of what is learnt, each with the token that ends it."""


class Chats:
    """How one model's chats are written. `special`: text → id of its special tokens; `encode`: plain text → ids."""

    def __init__(
        self,
        template: ChatTemplate,
        special: Mapping[str, int],
        encode: Callable[[str], list[int]],
        form: TextForm | None = None,
    ) -> None:
        self.template, self.special, self._encode, self.form = template, special, encode, form or TextForm()
        self._names = list(special)
        self._numbers = {token: number for number, token in enumerate(special)}
        longest_first = sorted(special, key=len, reverse=True)
        self._spelled = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def prompt(self, messages: Messages, tools: Tools | None = None) -> tuple[int, ...]:
        """Tokens of a chat up to where the assistant answers. Raises MetrolineError as `render` does."""
        return self.tokens(self.render(messages, tools))

    def render(self, messages: Messages, tools: Tools | None = None, *, answer_follows: bool = True) -> str:
        """The text that `tokens` reads: special tokens are the template's, stand-ins those that messages spell.

        Raises MetrolineError: the template refuses the messages, fails, or does not end.
        """
        return self._render(messages, tools, answer_follows, marks=False)

    def _render(self, messages: Messages, tools: Tools | None, answer_follows: bool, marks: bool) -> str:
        hidden = self._hide([dict(message) for message in messages])
        return self.template.render(
            hidden, tools=self._hide(tools) if tools else None, add_generation_prompt=answer_follows, marks=marks
        )

    def plain(self, text: str) -> str:
        """A rendered text without the template's special tokens, to be judged before it is tokenized."""
        return self._spelled.sub("", text)

    def tokens(self, text: str) -> tuple[int, ...]:
        """Ids of a rendered text."""
        tokens: list[int] = []
        position = 0
        for found in self._spelled.finditer(text):
            tokens += self._encoded(text[position : found.start()])
            tokens.append(self.special[found[0]])
            position = found.end()
        return (*tokens, *self._encoded(text[position:]))

    def _encoded(self, text: str) -> list[int]:
        names = self._names
        shown = STAND_IN.sub(lambda found: names[int(found[1])] if int(found[1]) < len(names) else found[0], text)
        return self._encode(self.form.apply(shown))

    def _hide(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._spelled.sub(lambda found: f"\ufdd0{self._numbers[found[0]]}\ufdd1", value)
        if isinstance(value, Arguments):
            return Arguments(self._hide(dict(value)), self._hide(str(value)))
        if isinstance(value, dict):
            return {self._hide(key): self._hide(inner) for key, inner in value.items()}
        return [self._hide(inner) for inner in value] if isinstance(value, list) else value

    def example(
        self, messages: Messages, ends: Collection[int], trained: Sequence[int], tools: Tools | None = None
    ) -> Example:
        """The tokens to learn the answers `trained` from: places of assistant messages, in order, at least one.

        `ends`: the tokens at which the endpoint ends an answer. Raises MetrolineError: a template that refuses the
        messages, that writes what came before an answer differently after it, that ends answers with none of `ends`,
        or whose marks say otherwise; JoinedTokens for an answer that no prompt leads to.
        """
        text = self.render(messages, tools, answer_follows=False)
        tokens = self.tokens(text)
        answers = tuple(self._answer(messages, tools, place, text, tokens, ends) for place in trained)
        self._check_marks(messages, tools, text, tokens, answers, ends)
        return Example(tokens[: answers[-1][1]], answers)

    def _answer(
        self, messages: Messages, tools: Tools | None, place: int, text: str, tokens: tuple[int, ...],
        ends: Collection[int],
    ) -> Span:  # fmt: skip
        """Where the answer at a place of the messages is, by prefixes."""
        before = self.render(messages[:place], tools)
        through = self.render(messages[: place + 1], tools, answer_follows=False)
        for part, what in ((before, "up to"), (through, "up to the end of")):
            if not text.startswith(part):
                raise MetrolineError(
                    f"the chat template writes a chat {what} message {place + 1} differently when that message and "
                    "others follow, so that no prompt of the endpoint would lead to the answer",
                    hint="data.answers: last learns the last answers only"
                    if place + 1 < len(messages)
                    else "take weights with a template whose prompts begin what it writes for whole chats",
                )
        begin, end = len(self.tokens(before)), len(self.tokens(through))
        for part, length in ((before, begin), (through, end)):
            if self.tokens(part) != tokens[:length]:
                raise JoinedTokens(f"message {place + 1} and what is around it share a token")
        return begin, _through_end(tokens, begin, end, ends, place)

    def _check_marks(
        self, messages: Messages, tools: Tools | None, text: str, tokens: tuple[int, ...], answers: Sequence[Span],
        ends: Collection[int],
    ) -> None:  # fmt: skip
        """Raise MetrolineError when the template's own marks, where it has any, tell other answers."""
        if not self.template.has_marks:
            return
        marked = self._render(messages, tools, answer_follows=False, marks=True)
        opened, closed = MARKS
        if marked.replace(opened, "").replace(closed, "") != text:
            raise MetrolineError("the chat template writes otherwise when its {% generation %} marks are shown")
        found: list[Span] = []
        for piece in re.finditer(f"{opened}([^{closed}]*){closed}", marked):
            before = marked[: piece.start()].replace(opened, "").replace(closed, "")
            begin, end = len(self.tokens(before)), len(self.tokens(before + piece[1]))
            stop = next((at + 1 for at in range(begin, min(end, len(tokens))) if tokens[at] in ends), end)
            found.append((begin, stop))
        said = sum(message.get("role") == "assistant" for message in messages)
        if len(found) != said:
            raise MetrolineError(
                f"the chat template's {{% generation %}} marks tell {len(found)} answers, and there are {said}"
            )
        if missing := [answer for answer in answers if answer not in found]:
            begin, end = missing[0]
            raise MetrolineError(
                f"the chat template's {{% generation %}} marks do not hold tokens {begin} to {end}, which are an "
                "answer with the token that ends it",
                hint="they must begin where a prompt ends, and hold the end of the answer",
            )


def _through_end(tokens: Sequence[int], begin: int, end: int, ends: Collection[int], place: int) -> int:
    """Behind the first token of [begin, end) that ends an answer."""
    for at in range(begin, end):
        if tokens[at] in ends:
            return at + 1
    raise MetrolineError(
        f"the chat template ends the answer of message {place + 1} with no token that ends an answer at the endpoint "
        f"({', '.join(map(str, sorted(ends))) or 'there is none'}), so a model would never learn to stop",
        hint="the weights' generation_config.json or config.json must name the template's end as eos_token_id",
    )
