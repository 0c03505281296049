"""Pairs of answers to one prompt out of a row: the one that was chosen and the one that was rejected.

    chosen, rejected = PreferencesConfig(chat=PairConfig(prompt="prompt")).chats_of(row)

Both are chats that differ in their last message. Tokens are made of them as of any chat (data/text/instructions.py),
side by side in the shards: document 2 n is the chosen one of pair n, 2 n + 1 the rejected one.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from data.text.chat_rows import ChatRowsConfig
from data.text.messages import BadRow, ChatConfig, fields_of, of_row
from data.text.rows import Row
from data.text.traces import Message, said


class PairConfig(BaseModel):
    """Where a row has its prompt and two answers: `prompt`, `user` (and `system`), or neither for whole chats."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: str | None = Field(
        default=None,
        description="field with what is asked, a text or a list of messages; without it and `user`, chosen and "
        "rejected are whole chats with the same beginning",
    )
    system: str | None = Field(default=None, description="template of a system message, beside `user`")
    user: str | None = Field(default=None, description='template of what is asked: "{instruction}\\n{input}"')
    chosen: str = Field(default="chosen", min_length=1, description="field with the better answer: a text, or messages")
    rejected: str = Field(default="rejected", min_length=1, description="field with the worse answer")
    strip: bool = Field(default=True, description="take white space from around the text of each message")

    @model_validator(mode="after")
    def _one_form(self) -> "PairConfig":
        if self.prompt is not None and self.user is not None:
            raise ValueError("prompt and user are different forms of rows: name one")
        if self.chosen == self.rejected:
            raise ValueError(f"chosen and rejected are the same field, {self.chosen}")
        for answer in (self.chosen, self.rejected):
            self.chat(answer)
        return self

    def chat(self, answer: str) -> ChatConfig:
        """Where a row has the chat that ends with the answer in this field. Raises ValueError for a bad template."""
        rest: dict[str, Any] = {"strip": self.strip}
        if self.prompt is not None:
            return ChatConfig(prompt=self.prompt, completion=answer, **rest)
        if self.user is not None or self.system is not None:
            return ChatConfig(system=self.system, user=self.user, assistant=f"{{{answer}}}", **rest)
        return ChatConfig(messages=answer, **rest)


class PreferencesConfig(ChatRowsConfig):
    """How rows become pairs of chats, and chats tokens."""

    chat: PairConfig = PairConfig()

    @property
    def fields(self) -> list[str]:
        """See `ChatRowsConfig`."""
        return [name for answer in (self.chat.chosen, self.chat.rejected) for name in fields_of(self.chat.chat(answer))]

    def chats_of(self, row: Row) -> list[list[Message]]:
        """The chosen chat and the rejected one. Raises BadRow: one that is none, two prompts, the same answer twice."""
        chosen, rejected = (of_row(row, self.chat.chat(answer)) for answer in (self.chat.chosen, self.chat.rejected))
        if self._said(chosen[:-1]) != self._said(rejected[:-1]):
            raise BadRow("different_prompts", "what comes before the last answer differs between the two")
        if self._said(chosen[-1:]) == self._said(rejected[-1:]):
            raise BadRow("same_answers", "the chosen answer is the rejected one")
        return [chosen, rejected]

    def learnt(self, messages: list[Message]) -> list[int]:
        """The last answer, in which the two differ."""
        return [len(messages) - 1]

    def _said(self, messages: list[Message]) -> list[tuple[str, str]]:
        return [(message["role"], self.clean.apply(said(message))) for message in messages]
