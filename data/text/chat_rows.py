"""First pass of preparing chats: rows with an answer to learn, none twice, each in its split.

What is left out is written down with its reason, or stops. Making tokens is data/text/chat_tokens.py's.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from base.errors import MetrolineError, printable
from base.progress import Progress
from data.assign import LEFT_OUT, Item, assign, digest
from data.leaks import drop_duplicates, refuse_split_groups
from data.split import SplitConfig
from data.text.dedup import DedupConfig, Duplicates, signature
from data.text.filters import FilterConfig
from data.text.messages import BadRow, ChatConfig, fields_of, of_row, tools_of_row
from data.text.readers import NoObject
from data.text.rows import SUFFIXES, Row, read_rows
from data.text.stats import Statistics
from data.text.text_form import TextForm
from data.text.tools import Tools
from data.text.traces import Message, said
from data.text.values import plain


class ChatRowsConfig(BaseModel):
    """How rows become chats, and chats tokens: what each kind of rows has in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tools: str = Field(
        default="tools", description="field with definitions of tools, as OpenAI's API has them, where a row has any"
    )
    template: Literal["pretrained", "hermes"] = Field(
        default="pretrained",
        description="chat template: that of the weights, or ChatML that shows tools and writes calls as Hermes does",
    )
    clean: TextForm = TextForm()
    duplicates: DedupConfig = DedupConfig()
    filter: FilterConfig = FilterConfig()
    length: int = Field(default=512, ge=2, description="most tokens of a chat; a longer one is left out, not cut")
    errors: Literal["drop", "stop"] = Field(
        default="drop", description="what a row that cannot be learnt from does: it is counted, or stops with an error"
    )

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings of the files that can hold rows."""
        return SUFFIXES

    @property
    def fields(self) -> list[str]:
        """Names of the fields in templates, of which a row may lack some."""
        raise NotImplementedError

    def chats_of(self, row: Row) -> list[list[Message]]:
        """A row's chats, each ending with an answer; the first of them tells duplicates. Raises BadRow."""
        raise NotImplementedError

    def learnt(self, messages: list[Message]) -> list[int]:
        """Places of a chat's answers that are learnt."""
        raise NotImplementedError


class InstructionsConfig(ChatRowsConfig):
    """How rows become chats, and chats tokens."""

    chat: ChatConfig = ChatConfig()
    answers: Literal["all", "last"] = Field(
        default="all", description="which answers of a chat are learnt; a message with weight: 0 never is"
    )

    @property
    def fields(self) -> list[str]:
        """See `ChatRowsConfig`."""
        return fields_of(self.chat)

    def chats_of(self, row: Row) -> list[list[Message]]:
        """One chat."""
        messages = of_row(row, self.chat)
        if not self.learnt(messages):
            raise BadRow("no_answer", "no answer is to be learnt: all weigh 0")
        return [messages]

    def learnt(self, messages: list[Message]) -> list[int]:
        """All answers or the last, but those that weigh 0."""
        places = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
        places = places[-1:] if self.answers == "last" else places
        return [place for place in places if messages[place].get("weight") != 0]


class ChatRow(NamedTuple):
    """A row that may be learnt from."""

    split: str
    id: str
    chats: list[list[Message]]
    """One, or as many as the kind of rows has."""
    tools: Tools
    """What these chats may call."""

    @property
    def size(self) -> int:
        """Characters in all."""
        return sum(len(said(message)) for messages in self.chats for message in messages)


class Dropped:
    """Counts and lists what is left out, or stops at it."""

    def __init__(self, path: Path, statistics: Statistics, errors: Literal["drop", "stop"]) -> None:
        self._file = path.open("w", encoding="utf-8", newline="\n")
        self.statistics, self._errors = statistics, errors

    def __enter__(self) -> "Dropped":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __call__(self, identity: str, reason: str, detail: str, *, bad: bool = True) -> None:
        """Leave out a row. `bad`: it cannot be learnt, rather than that it is there twice or not wanted."""
        if bad and self._errors == "stop":
            raise MetrolineError(
                f"{identity}: {reason}: {printable(detail)}",
                hint="mend the data, or leave such rows out with data.errors: drop",
            )
        self.statistics.dropped[reason] += 1
        self._file.write(json.dumps({"id": identity, "reason": reason, "detail": detail}, ensure_ascii=False) + "\n")


def read_all(
    files: dict[str, Path],
    config: ChatRowsConfig,
    spool: Path,
    dropped: Dropped,
    statistics: Statistics,
    split: SplitConfig,
) -> list[Item]:
    """First pass: rows with an answer to learn, none twice, go to the spool. Returns what splitting needs of each.

    Raises MetrolineError: a field of `data.chat` that no row has.
    """
    duplicates, items = Duplicates(config.duplicates), list[Item]()
    unseen = dict.fromkeys(config.fields)
    noted = {name for name in (split.group, split.by) if name is not None}
    with spool.open("w", encoding="utf-8", newline="\n") as file, Progress("read", None, "rows") as progress:
        for identity, row in read_rows(files):
            statistics.read += 1
            progress.update(1)
            if isinstance(row, NoObject):
                dropped(identity, "unreadable", str(row))
                continue
            for name in [name for name in unseen if name in row]:
                del unseen[name]
            try:
                chats = config.chats_of(row)
                tools = tools_of_row(row, chats, config.tools)
            except BadRow as problem:
                dropped(identity, problem.reason, str(problem))
                continue
            if unwanted := config.filter.reason_to_drop(chats, list(map(config.learnt, chats))):
                dropped(identity, *unwanted, bad=False)
                continue
            messages = chats[0]
            asked, all_said = (text_of(part, config.clean) for part in (messages[:-1], _but_system(messages)))
            sketch = signature(all_said, config.duplicates) if config.duplicates.near else None
            if repeated := duplicates.check(identity, asked, sketch):
                dropped(identity, *repeated, bad=False)
                continue
            items.append(Item(identity, digest(asked.encode()), _meta(row, noted)))
            file.write(json.dumps([identity, chats, tools], ensure_ascii=False) + "\n")
    if items and unseen:
        raise MetrolineError(f"data.chat: no row has a field {next(iter(unseen))!r}", hint="name one that rows have")
    return items


def text_of(messages: list[Message], form: TextForm) -> str:
    """Messages as one text, to be compared."""
    return "\n".join(f"{message['role']}: {form.apply(said(message))}" for message in messages)


def _but_system(messages: list[Message]) -> list[Message]:
    return [message for message in messages if message["role"] != "system"]


def _meta(row: Row, noted: set[str]) -> dict[str, Any]:
    """The values that `split` may go by."""
    try:
        return {name: plain(row[name]) for name in noted if name in row}
    except ValueError:
        return {}


def share_out(items: list[Item], split: SplitConfig, dropped: Dropped) -> list[str]:
    """The split of each item; "" for those left out as another split has the same question."""
    if not items:
        return []
    assigned = assign(items, split)
    refuse_split_groups(items, assigned, split)
    kept = drop_duplicates(items, assigned, split)
    for item, before, after in zip(items, assigned, kept, strict=True):
        if after == LEFT_OUT:
            dropped(item.id, "in_another_split" if before else "gap", "", bad=False)
    return kept


def spooled(path: Path, splits: list[str]) -> Iterator[ChatRow]:
    """The rows of a spool that are in a split."""
    with path.open(encoding="utf-8", newline="\n") as file:
        for split, line in zip(splits, file, strict=True):
            if split != LEFT_OUT:
                yield ChatRow(split, *json.loads(line))
