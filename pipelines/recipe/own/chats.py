"""Own chats, to teach a model that another recipe has: which fields of the rows hold what is asked and answered.

Rows with two answers, a better and a worse one, are pairs (`pairs`): the model learns which to prefer.
"""

from collections import Counter
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from base.errors import MetrolineError
from base.yaml_files import quoted
from data.fetch.own_files import own_files
from data.text.messages import BadRow, ChatConfig, Message, of_row, tools_of_row
from data.text.preferences import PairConfig, PreferencesConfig
from data.text.readers import NoObject
from data.text.rows import SUFFIXES, read_rows
from data.text.traces import said
from pipelines.recipe.own import pairs
from pipelines.recipe.own.fields import (
    COMPLETIONS,
    CONTEXTS,
    LISTS,
    PROMPTS,
    SYSTEMS,
    first,
    user_template,
)
from pipelines.recipe.own.found import Found

SEQUENCE = 512
BATCH, EPOCHS = 8, 2
FEW = 40
"""Below so many chats a split by hash may well leave one empty."""


LOOKED_AT = 10_000
"""Rows whose fields say which form chats have."""


def look(data: Path, name: str, base: str) -> Found:
    """Chats for the model of the recipe `base`. Raises MetrolineError: no rows, no fields that are known, no chat that
    can be learnt from."""
    own = own_files(data, "**/*", name=name, suffixes=SUFFIXES)
    files = {str(own.name(file)): file for file in own.files}
    some = [row for _, row in islice(read_rows(files), LOOKED_AT) if not isinstance(row, NoObject)]
    fields_of_all = {name: value for row in reversed(some) for name, value in row.items()}  # not every row has all
    config, seen = pairs.form_of(fields_of_all) or form_of(fields_of_all), list(fields_of_all)
    bad: Counter[str] = Counter()
    count = characters = calling = 0
    for _, row in read_rows(files):
        if isinstance(row, NoObject):
            bad["unreadable"] += 1
            continue
        if config is None:
            break
        try:
            chats, tools = read(row, config)
        except BadRow as problem:
            bad[problem.reason] += 1
            continue
        count += 1
        calling += tools
        characters += sum(len(said(message)) for messages in chats for message in messages)
    if config is None:
        fields = ", ".join(map(str, seen[:10])) or "its rows, of which there are none"
        raise MetrolineError(
            f"{data}: no field of chats among {fields}",
            hint=f"such as {LISTS[0]} (a list of role and content), {PROMPTS[0]} and {COMPLETIONS[0]}, or instruction, "
            "input and output; or name yours in a recipe's data.chat",
        )
    left_out = ", ".join(f"{reason} {number:,}" for reason, number in bad.most_common())
    paired = isinstance(config, PairConfig)
    noun = "pairs of answers" if paired else "chats"
    if count < 3:
        raise MetrolineError(
            f"{data}: {count} {noun} that can be learnt from" + (f"; left out: {left_out}" if left_out else ""),
            hint="three are the fewest: one for each split",
        )
    form = pairs.shown(config) if isinstance(config, PairConfig) else shown(config)
    form += f"; {calling:,} with tools" if calling else ""
    summary = f"{count:,} {noun} ({form})" + (f"; left out: {left_out}" if left_out else "")
    learns = "which to prefer" if paired else "their answers"
    values = _values(config, base, count, characters, tools=calling > 0)
    return Found(own, SUFFIXES, f"{summary} → {base} learns {learns}", "pairs" if paired else "chats", values)


def form_of(row: Mapping[str, Any]) -> ChatConfig | None:
    """Where a row with these fields has its messages; None: none of the names is known."""
    if (field := first([name for name in LISTS if isinstance(row.get(name), list)], row)) is not None:
        return ChatConfig(messages=field)
    asked, answered = first(PROMPTS, row), first(COMPLETIONS, row)
    if asked is None or answered is None or asked == answered:
        return None
    context, system = first(CONTEXTS, row), first(SYSTEMS, row)
    if context is None and system is None:
        return ChatConfig(prompt=asked, completion=answered)
    user = user_template(asked, context)
    return ChatConfig(system=f"{{{system}}}" if system else None, user=user, assistant=f"{{{answered}}}")


def read(row: Mapping[str, Any], config: ChatConfig | PairConfig) -> tuple[list[list[Message]], bool]:
    """A row's chats, and whether it has tools. Raises BadRow."""
    if isinstance(config, PairConfig):
        return PreferencesConfig(chat=config).chats_of(dict(row)), False
    messages = of_row(row, config)
    return [messages], bool(tools_of_row(row, [messages], "tools"))


def shown(config: ChatConfig) -> str:
    """The form in words."""
    if config.messages is not None:
        return f"lists of messages in {config.messages}"
    if config.prompt is not None:
        return f"{config.prompt} and {config.completion}"
    return ", ".join(filter(None, (config.system, config.user, config.assistant))).replace("\n", " ")


def _values(config: ChatConfig | PairConfig, base: str, count: int, characters: int, *, tools: bool) -> dict[str, str]:
    """Of the template's names. Steps for about two passes, at four characters and thirty tokens of template a chat."""
    split = "{method: hash, valid: 0.10, test: 0.15} # by each question's hash: new chats move no other"
    if count < FEW:
        split = "{method: tail, valid: 0.34, test: 0.34} # by place: few chats"
    chat = config.model_dump(exclude_defaults=True)
    common = {
        "base": quoted(base),
        "chat": "{" + ", ".join(f"{key}: {quoted(value)}" for key, value in chat.items()) + "}",
        "template": "hermes # shows tools and writes calls of them; pretrained: the weights' own template"
        if tools
        else "pretrained # the chat template of the weights",
        "length": str(SEQUENCE),
        "split": split,
    }
    if isinstance(config, PairConfig):
        return common | {"subject": f"{base}, taught by your own pairs which answers to prefer"} | pairs.training(count)
    tokens = characters // 4 + 30 * count
    rows = max(1, tokens * 8 // 10 // SEQUENCE)  # of the train split
    batch = max(1, min(BATCH, rows // 2))
    steps = max(8, min(2000, round(EPOCHS * rows / batch)))
    return common | {
        "subject": f"{base}, taught by your own chats",
        "batch": str(batch),
        "steps": str(steps),
        "every": str(max(1, steps // 4)),
    }
