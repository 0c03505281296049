"""Chats that are not worth learning: too short or long an answer, another language, a refusal. Each says why.

    FilterConfig(refusals="drop").reason_to_drop(chats, learnt)    # ("refusal", "As an AI language model, I ...")

Duplicates are data/text/dedup.py's. How strange an answer is to a model is for who has one to say
(`pipelines.tasks.instruction.perplexity`); here is only the bound.
"""

import re
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from base.errors import nearest
from data.text.languages import WORDS, language
from data.text.traces import Message, said

_DOES = (
    "help|assist|provide|answer|fulfil|fulfill|comply|access|browse|generate|create|complete|perform|process|respond|"
    "discuss|engage|offer|share|support|do that|do this|see|view|open|express|have personal|determine"
)
_CANNOT = rf"i\s+(?:can(?:no|')t|can not|am (?:not able|unable) to|will not|won't)\s+(?:{_DOES})\b"
_REFUSAL = re.compile(
    r"\bas an? (?:ai|artificial intelligence|(?:large )?language model)\b"
    r"|\bi(?:'m| am) (?:just |only )?an? (?:ai|artificial intelligence|(?:large )?language model)\b"
    rf"|^(?:unfortunately,?\s+)?{_CANNOT}"
    rf"|^(?:i'm|i am|my apologies|i apologi[sz]e|(?:i'm |i am )?(?:so |very )?sorry)\b[^.!?]{{0,40}}?\b{_CANNOT}"
)


class FilterConfig(BaseModel):
    """Which chats are left out though they could be learnt. Each reason is counted, and listed in dropped.jsonl."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_answer: int = Field(default=0, ge=0, description="characters; a chat with a shorter learnt answer is left out")
    max_answer: int | None = Field(default=None, ge=1, description="characters of the longest; null: no bound")
    languages: tuple[str, ...] = Field(
        default=(),
        description=f"keep chats in these: {', '.join(sorted(WORDS))}; one whose language cannot be told stays; none: "
        "any",
    )
    refusals: Literal["keep", "drop"] = Field(
        default="keep", description="drop: a chat with an answer that says that it cannot, or that an AI wrote it"
    )
    max_perplexity: float | None = Field(
        default=None,
        gt=1,
        allow_inf_nan=False,
        description="of a train chat's answers under the first weights; a stranger one is left out; null: no bound",
    )

    @field_validator("languages")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in WORDS:
                raise ValueError(f"no language {name!r} is told apart; {nearest(name, sorted(WORDS))}")
        return names

    @model_validator(mode="after")
    def _some_length(self) -> "FilterConfig":
        if self.max_answer is not None and self.max_answer < self.min_answer:
            raise ValueError(f"max_answer ({self.max_answer}) is below min_answer ({self.min_answer})")
        return self

    def reason_to_drop(
        self, chats: Sequence[Sequence[Message]], learnt: Sequence[Sequence[int]]
    ) -> tuple[str, str] | None:
        """(reason, detail) for a row's chats, of which each has learnt answers at these places; None: they stay."""
        for messages, places in zip(chats, learnt, strict=True):
            answers = [said(messages[place]).strip() for place in places]
            for answer in answers:
                if len(answer) < self.min_answer:
                    return "short_answer", f"{len(answer):,} characters, fewer than {self.min_answer:,}"
                if self.max_answer is not None and len(answer) > self.max_answer:
                    return "long_answer", f"{len(answer):,} characters, more than {self.max_answer:,}"
                if self.refusals == "drop" and refuses(answer):
                    return "refusal", answer[:80]
            if self.languages:
                found = language("\n".join(map(said, messages)))
                if found is not None and found not in self.languages:
                    return "other_language", found
        return None


def refuses(answer: str) -> bool:
    """Whether an (English) answer says that it cannot be given, or that a machine gives it."""
    return _REFUSAL.search(answer.strip().lower().replace("’", "'")) is not None
