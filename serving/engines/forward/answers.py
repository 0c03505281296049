"""Outputs of the graph → answers in the words of Hugging Face's tasks.

Labels: [{"label", "score"}], the answer first, then by score. Numbers: {name: number}. Vectors: a list of numbers.
Series, of which Hugging Face has no schema: {channel: {"mean": [...], "0.1": [...]}}, the next step first.
Masks: [{"label", "score", "area", "mask"}]. Boxes: [{"label", "score", "box"}], in pixels of the image.
Transcripts: {"text", "chunks"}, a chunk a word.
Schemas: https://github.com/huggingface/huggingface.js/tree/main/packages/tasks/src/tasks
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from data import boxes, ctc
from data.masks import by_label
from data.series import by_channel
from data.signature import (
    BoxesOutput,
    LabelsOutput,
    MaskOutput,
    NumbersOutput,
    Output,
    SeriesOutput,
    Signature,
    TranscriptOutput,
)
from serving.engines.forward.graph import Array
from serving.http.errors import ApiError


def chosen(output: LabelsOutput, scores: Array) -> int:
    """The index of the label that is the answer."""
    if output.threshold is not None and len(output.labels) == 2:
        return int(float(scores[1]) >= output.threshold)
    return int(scores.argmax())


def label(signature: Signature, arrays: Sequence[Array]) -> str | None:
    """The answer to one item where it is one label."""
    if len(signature.outputs) != 1 or not isinstance(signature.outputs[0], LabelsOutput):
        return None
    return signature.outputs[0].labels[chosen(signature.outputs[0], arrays[0])]


def worded(output: Output, array: Array, top: int | None = None, threshold: float | None = None) -> Any:
    """One output of one item; `top`: so many labels or boxes, None: as many as the signature says; `threshold`: boxes
    from this score on."""
    if isinstance(output, SeriesOutput):
        return by_channel(output, array)
    if isinstance(output, MaskOutput):
        return by_label(output, array)
    if isinstance(output, TranscriptOutput):
        return ctc.worded(output, array)
    if isinstance(output, BoxesOutput):
        return boxes.worded(output, array, top, threshold)
    numbers = [float(number) for number in array.reshape(-1)]
    if isinstance(output, LabelsOutput):
        answer, order = chosen(output, array), np.argsort(np.negative(numbers), kind="stable").tolist()
        order = [answer, *(i for i in order if i != answer)]
        return [{"label": output.labels[i], "score": numbers[i]} for i in order[: top or output.top]]
    if isinstance(output, NumbersOutput):
        return dict(zip(output.names, numbers, strict=True))
    return numbers


def all_worded(
    signature: Signature, arrays: Sequence[Array], top: int | None = None, threshold: float | None = None
) -> Any:
    """The answer to one item: of the one output, or by the names of several."""
    if len(signature.outputs) == 1:
        return worded(signature.outputs[0], arrays[0], top, threshold)
    return {
        output.name: worded(output, array, top, threshold)
        for output, array in zip(signature.outputs, arrays, strict=True)
    }


def plain(output: Output, array: Array) -> Any:
    """The answer to a row of a table, as Hugging Face's tabular tasks give it: the label, the number."""
    if isinstance(output, LabelsOutput):
        return output.labels[chosen(output, array)]
    numbers = [float(number) for number in array.reshape(-1)]
    return numbers[0] if len(numbers) == 1 else numbers


def check_finite(signature: Signature, arrays: Sequence[Array]) -> None:
    """Raise ApiError 400 for an answer that is no number: JSON has no word for it."""
    for output, array in zip(signature.outputs, arrays, strict=True):
        if not np.isfinite(array).all():
            message = f"The model's {output.name} is not finite for this input. Check it for extreme values."
            raise ApiError(400, message, param="inputs", code="answer_not_finite")
