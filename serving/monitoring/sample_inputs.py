"""Made-up inputs for a model that answers in one call, by its signature: what sample traffic sends.

They are of the right form, and like nothing that the model has seen, except tables: those stay within the columns'
ranges.
"""

import base64
import io
import random
import wave
from collections.abc import Mapping
from typing import Any

from data.signature import Column

WORDS = ["the", "people", "of", "the", "united", "states", "and", "the", "government", "of", "the", "union"]


def item(inputs: list[dict[str, Any]], dice: random.Random) -> Any:
    """One item as JSON. `inputs`: as /v1/models describes them."""
    made = {each["name"]: value(each, dice) for each in inputs}
    return made if len(made) > 1 else next(iter(made.values()))


def value(declared: Mapping[str, Any], dice: random.Random) -> Any:
    """One input."""
    match declared["kind"]:
        case "table":
            return {each["name"]: _cell(Column.model_validate(each), dice) for each in declared["columns"]}
        case "text":
            words = dice.choices(WORDS, k=dice.randint(1, max(1, min(12, declared["length"] // 4))))
            if mask := declared.get("mask"):
                words[dice.randrange(len(words))] = mask
            return " ".join(words)
        case "image":
            return base64.b64encode(_image(declared["channels"], dice)).decode()
        case "audio":
            return base64.b64encode(_sound(declared["rate"], min(1.0, declared["seconds"]), dice)).decode()
        case "series":
            return [[dice.gauss(0, 1) for _ in declared["channels"]] for _ in range(declared["context"])]
        case _:
            size = len(declared.get("names", ())) or next((n for n in declared["shape"] if n > 0), 1)
            return [dice.gauss(0, 1) for _ in range(size)]


def _cell(column: Column, dice: random.Random) -> float | str | None:
    if column.missing and dice.random() < 0.05:
        return None
    if column.kind == "category":
        return dice.choice(column.categories) if column.categories else "none"
    if column.minimum is not None and column.maximum is not None:
        return dice.uniform(column.minimum, column.maximum)
    return float(column.example or 0) * dice.uniform(0.5, 1.5)


def _image(channels: int, dice: random.Random) -> bytes:
    from PIL import Image

    mode, out = "L" if channels == 1 else "RGB", io.BytesIO()
    Image.frombytes(mode, (8, 6), dice.randbytes(48 * channels)).resize((64, 48)).save(out, "PNG")
    return out.getvalue()


def _sound(rate: int, seconds: float, dice: random.Random) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(dice.randbytes(2 * max(1, int(rate * seconds))))
    return out.getvalue()
