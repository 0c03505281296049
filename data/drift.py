"""Drift of what goes in and what comes out: the reference that `evaluate` writes, and how far a window is from it.

    write_json(folder / "reference.json", reference(signature, inputs, outputs))
    psi(reference["inputs"]["age"]["shares"], shares(reference["inputs"]["age"], values))

An item is described by a few numbers (`features`): the columns of a row, an image's brightness and contrast, a text's
length, the likeliest label. Their distribution on the test split is kept as shares of at most 10 bins. The population
stability index compares two such lists; by the usual reading, under 0.1 nothing has changed, over 0.25 something has.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from data.boxes import LABEL, SCORE, rows_of
from data.signature import (
    BoxesOutput,
    ImageInput,
    Input,
    LabelsOutput,
    MaskOutput,
    NumbersOutput,
    Output,
    SeriesInput,
    SeriesOutput,
    Signature,
    TableInput,
    TextInput,
    TranscriptOutput,
)

Array = npt.NDArray[Any]

BINS = 10
MOST = 64
"""Features of a side: more would make too many series of metrics."""
LEAST = 1e-4
"""A share counts at least this much: the logarithm of an empty bin is infinite."""


def input_features(declared: Input, array: Array) -> dict[str, float]:
    """A decoded input in a few numbers, by name; NaN: missing. Categories are their codes."""
    if isinstance(declared, TableInput):
        return {column.name: float(value) for column, value in zip(declared.columns[:MOST], array, strict=False)}
    values = array.astype(np.float64)
    if isinstance(declared, TextInput):
        return {f"{declared.name}.tokens": float(array.size)}
    if isinstance(declared, ImageInput):
        return {f"{declared.name}.brightness": float(values.mean()), f"{declared.name}.contrast": float(values.std())}
    if isinstance(declared, SeriesInput):
        return {name: float(np.nanmean(column)) if np.isfinite(column).any() else float("nan")
                for name, column in zip(declared.channels[:MOST], values.T, strict=False)}  # fmt: skip
    size = float(np.sqrt(np.square(values).mean())) if values.size else 0.0
    return {f"{declared.name}.size": size, f"{declared.name}.length": float(array.size)}


def output_features(declared: Output, array: Array) -> dict[str, float]:
    """An output in a few numbers: the index of the likeliest label, each number, label areas, how many boxes there are
    of each label, a transcript's characters and how sure its frames are, the mean forecast of each channel, a vector's
    length in space."""
    if isinstance(declared, LabelsOutput):
        return {declared.name: float(array.argmax())}
    if isinstance(declared, NumbersOutput):
        return {name: float(value) for name, value in zip(declared.names[:MOST], array.reshape(-1), strict=False)}
    if isinstance(declared, MaskOutput):
        areas = np.bincount(array.argmax(0).ravel(), minlength=len(array)) / array[0].size
        return {label: float(area) for label, area in zip(declared.labels[:MOST], areas, strict=False)}
    if isinstance(declared, TranscriptOutput):
        best = array.argmax(1)
        new = (best != declared.blank) & np.concatenate([[True], best[1:] != best[:-1]])
        return {"characters": float(new.sum()), "confidence": float(np.exp(array.max(1)).mean())}
    if isinstance(declared, BoxesOutput):
        rows = rows_of(declared, array)
        there = rows[rows[:, SCORE] >= declared.threshold, LABEL].astype(np.int64)
        counts = np.bincount(there, minlength=len(declared.labels))
        return {label: float(count) for label, count in zip(declared.labels[:MOST], counts, strict=False)}
    if isinstance(declared, SeriesOutput):
        means = array[..., 0].astype(np.float64).mean(0)
        return {name: float(value) for name, value in zip(declared.channels[:MOST], means, strict=False)}
    return {f"{declared.name}.size": float(np.linalg.norm(array.astype(np.float64)))}


def features(
    signature: Signature, inputs: Sequence[Array], outputs: Sequence[Array]
) -> tuple[dict[str, float], dict[str, float]]:
    """Those of an item's decoded inputs and of its outputs, both without the batch."""
    into: dict[str, float] = {}
    out: dict[str, float] = {}
    for declared, array in zip(signature.inputs, inputs, strict=True):
        into |= input_features(declared, array)
    for made, array in zip(signature.outputs, outputs, strict=True):
        out |= output_features(made, array)
    return into, out


def reference(
    signature: Signature, inputs: Iterable[Sequence[Array]], outputs: Iterable[Sequence[Array]]
) -> dict[str, Any]:
    """The contents of reference.json: side → feature → its `values` or `edges`, and `shares`. One entry an item."""
    rows = [features(signature, one, other) for one, other in zip(inputs, outputs, strict=True)]
    sides = {"inputs": [row[0] for row in rows], "outputs": [row[1] for row in rows]}
    discrete = {column.name for each in signature.inputs if isinstance(each, TableInput) for column in each.columns
                if column.kind == "category"}  # fmt: skip
    discrete |= {each.name for each in signature.outputs if isinstance(each, LabelsOutput)}
    return {
        side: {name: _distribution(np.array([row[name] for row in found]), name in discrete) for name in found[0]}
        for side, found in sides.items()
        if found
    }


def _distribution(values: npt.NDArray[np.float64], discrete: bool) -> dict[str, Any]:
    there = values[~np.isnan(values)]
    if discrete:
        names, counts = np.unique(there, return_counts=True)
        common = names[np.argsort(-counts, kind="stable")][: BINS - 1]
        kept: dict[str, Any] = {"values": sorted(common.tolist())}
    else:
        edges = np.quantile(there, np.linspace(0, 1, BINS + 1)[1:-1]) if there.size else np.zeros(0)
        kept = {"edges": np.unique(edges).tolist()}
    return kept | {"shares": shares(kept, values)}


def shares(kept: Mapping[str, Any], values: npt.NDArray[np.float64] | Sequence[float]) -> list[float]:
    """The shares of values in the bins of a reference: of each value and of all others, or between the edges; the last
    one is of missing values."""
    values = np.asarray(values, np.float64)
    missing = np.isnan(values)
    there = values[~missing]
    if "values" in kept:
        counts = [int((there == value).sum()) for value in kept["values"]]
        counts.append(there.size - sum(counts))
    else:
        counts = np.bincount(
            np.searchsorted(kept["edges"], there, side="right"), minlength=len(kept["edges"]) + 1
        ).tolist()
    counts.append(int(missing.sum()))
    return [count / max(1, values.size) for count in counts]


def psi(expected: Sequence[float], found: Sequence[float]) -> float:
    """The population stability index of two lists of shares; 0: the same."""
    before, after = np.maximum(expected, LEAST), np.maximum(found, LEAST)
    return float(((after - before) * np.log(after / before)).sum())
