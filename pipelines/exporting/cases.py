"""What exported forms of one call are compared on: test items and random inputs, in batches of several sizes."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data.signature import Input

if TYPE_CHECKING:
    from pipelines.recipe.export_section import ForwardExport
    from pipelines.tasks.interface import Forward

Inputs = dict[str, NDArray[Any]]


def cases(exportable: "Forward", config: "ForwardExport") -> Iterator[tuple[dict[str, Any], Inputs]]:
    """(what it is, named arrays) of each case; the same whenever it is asked."""
    batches = list(exportable.examples("test", max(config.batch_sizes)))
    for number, batch in enumerate(batches[:8]):
        yield {"items": "test", "batch": len(next(iter(batch.values()))), "number": number}, batch
    generator = np.random.Generator(np.random.Philox(key=7))
    declared = exportable.signature.inputs
    lengths = config.lengths if any(-1 in each.shape for each in declared) else (0,)
    for size in config.batch_sizes:
        for length in lengths:
            case = {"items": "random", "batch": size, **({"length": length} if length else {})}
            yield case, {each.name: _random(each, batches, size, length, generator) for each in declared}
    if any(each.kind == "text" for each in declared):
        size, length = max(2, *config.batch_sizes), max(lengths)
        inputs = {each.name: _random(each, batches, size, length, generator) for each in declared}
        case = {"items": "random", "batch": size, "length": length, "ragged": True}
        yield case, {each.name: _ragged(inputs[each.name]) if each.kind == "text" else inputs[each.name]
                     for each in declared}  # fmt: skip


def _ragged(tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tokens [B, S] with zeros behind the first ones of each row: 1 in the first row, all S in the last."""
    counts = np.linspace(1, tokens.shape[1], len(tokens)).astype(np.int64)
    return np.where(np.arange(tokens.shape[1]) < counts[:, None], tokens, 0)


def _random(
    declared: Input, batches: list[Inputs], size: int, length: int, generator: np.random.Generator
) -> NDArray[Any]:
    """Values of the test split, each drawn by itself: of a table from its own column; images are noise."""
    shape = tuple(length if each == -1 else each for each in declared.shape)
    if declared.kind == "image":
        return generator.integers(0, 256, (size, *shape), dtype=np.uint8)
    if declared.kind == "table":
        seen = np.concatenate([batch[declared.name] for batch in batches])
        rows = generator.integers(0, len(seen), (size, seen.shape[1]))
        return np.take_along_axis(seen, rows, 0)
    values = np.concatenate([batch[declared.name].reshape(-1) for batch in batches])
    return generator.choice(values, (size, *shape))
