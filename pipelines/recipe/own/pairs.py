"""Own pairs of answers: which fields of rows hold what is asked and the two answers, and how to learn from so many."""

from collections.abc import Mapping
from typing import Any

from data.text.preferences import PairConfig
from pipelines.recipe.own.fields import CONTEXTS, PAIRS, PROMPTS, SYSTEMS, first, user_template

BATCH, EPOCHS = 16, 2


def form_of(row: Mapping[str, Any]) -> PairConfig | None:
    """Where a row with these fields has its prompt and answers; None: it has no two answers of known names."""
    answers = next((pair for pair in PAIRS if all(name in row for name in pair)), None)
    if answers is None:
        return None
    named: dict[str, Any] = {"chosen": answers[0], "rejected": answers[1]}
    given = row[answers[0]]
    if isinstance(given, list) and given and isinstance(given[0], Mapping) and given[0].get("role") != "assistant":
        return PairConfig(**named)  # whole chats
    if (asked := first(PROMPTS, row)) is None:
        return None
    context, system = first(CONTEXTS, row), first(SYSTEMS, row)
    if context is None and system is None:
        return PairConfig(prompt=asked, **named)
    return PairConfig(system=f"{{{system}}}" if system else None, user=user_template(asked, context), **named)


def shown(config: PairConfig) -> str:
    """The form in words."""
    asked = config.prompt or ", ".join(filter(None, (config.system, config.user))).replace("\n", " ")
    answers = f"{config.chosen} and {config.rejected}"
    return f"{asked}, {answers}" if asked else f"whole chats in {answers}"


def training(pairs: int) -> dict[str, str]:
    """Steps for about two passes."""
    train = max(1, pairs * 3 // 4)
    batch = max(1, min(BATCH, train // 2))
    steps = max(8, min(2000, round(EPOCHS * train / batch)))
    return {"batch": str(batch), "steps": str(steps), "every": str(max(1, steps // 4))}
