"""The body of POST /v1/models/NAME/predict → raw items, and outputs → the answer, in the words of Hugging Face's tasks.

Raw bytes are one item. JSON is {"inputs": ..., "parameters": {...}}: an item, a list of items (a batch), or a table by
columns, {"table": {"age": [3, 4]}}. Images and sounds are base64 in JSON. Where a model has several inputs, an item is
an object with their names.
"""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from base.errors import nearest
from data.signature import BoxesOutput, Input, LabelsOutput, SeriesInput, Signature, TableInput
from serving.http.errors import ApiError, invalid

if TYPE_CHECKING:
    from serving.engines.forward.graph import Array

RAW = ("image", "audio")
"""Kinds of input that are bytes of a file."""
PARAMETERS = ("top_k", "function_to_apply", "threshold")
Items = list[tuple[Any, ...]]
"""Of each item, what `serving.engines.forward.preparation.Raw` says."""


@dataclass(frozen=True)
class Wanted:
    """A request that was read."""

    items: Items
    batch: bool
    """The inputs were a list, and the answer is one."""
    table: bool = False
    """They were the columns of a table, as Hugging Face's clients send it: the answer is labels or numbers alone."""
    top: int | None = None
    threshold: float | None = None
    """Boxes from this score on."""


def from_bytes(signature: Signature, body: bytes) -> Wanted:
    """One item as it is. Raises ApiError 400 where there is none."""
    if not body:
        raise invalid("The body is empty. Send the input, as in curl --data-binary @FILE.", "inputs", "empty_body")
    return Wanted([(body,)], batch=False)


def from_json(signature: Signature, body: bytes) -> Wanted:
    """The items of a JSON body. Raises ApiError 400."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        reason = str(error)[:200] if isinstance(error, ValueError) else "nested too deep"
        raise invalid(f"The body is not valid JSON: {reason}", code="invalid_json") from None
    if not isinstance(request, dict):
        raise invalid('Send a JSON object, {"inputs": ...}.', code="invalid_json")
    if unknown := [key for key in request if key not in ("inputs", "table", "parameters")]:
        hint = nearest(unknown[0], ("inputs", "table", "parameters"))
        raise invalid(f"Unknown key {unknown[0][:100]!r}: {hint}", unknown[0][:100], "unknown_parameter")
    top, threshold = _parameters(signature, request.get("parameters") or {})
    inputs = request.get("table", request.get("inputs"))
    if inputs is None:
        raise invalid('There is nothing to answer. Send {"inputs": ...}.', "inputs", "missing_inputs")
    if isinstance(inputs, dict) and isinstance(inputs.get("data"), dict) and _is_table(signature):
        return Wanted(_columns(signature, inputs["data"]), batch=True, table=True, top=top)
    if "table" in request:
        return Wanted(_columns(signature, inputs), batch=True, table=True, top=top)
    batch = _is_batch(signature, inputs)
    if batch and not inputs:
        raise invalid("The list of inputs is empty. Send at least one.", "inputs", "missing_inputs")
    items = [_item(signature, each) for each in (inputs if batch else [inputs])]
    return Wanted(items, batch=batch, top=top, threshold=threshold)


def answer(signature: Signature, wanted: Wanted, outputs: "Sequence[tuple[Array, ...]]") -> Any:
    """The JSON of the answer."""
    from serving.engines.forward.answers import all_worded, plain

    if wanted.table:
        found = [[plain(each, array) for each, array in zip(signature.outputs, row, strict=True)] for row in outputs]
        return [row[0] if len(row) == 1 else row for row in found]
    words = [all_worded(signature, row, wanted.top, wanted.threshold) for row in outputs]
    if wanted.batch or nested(signature):
        return words
    return words[0]


def readable(signature: Signature, item: tuple[Any, ...]) -> Any:
    """An item as JSON can hold it: of the one input, or by the names of several; images and sounds in base64."""

    def value(declared: Input, raw: Any) -> Any:
        if declared.kind in RAW and isinstance(raw, bytes):
            return base64.b64encode(raw).decode()
        if not isinstance(raw, bytes):  # it was JSON
            return raw
        return raw.decode(errors="replace") if declared.kind == "text" else json.loads(raw)

    values = {each.name: value(each, raw) for each, raw in zip(signature.inputs, item, strict=True)}
    return next(iter(values.values())) if len(values) == 1 else values


def nested(signature: Signature) -> bool:
    """Hugging Face's clients for labels of a text expect a list even for one text."""
    return (signature.inputs[0].kind == "text" and len(signature.inputs) == 1
            and len(signature.outputs) == 1 and isinstance(signature.outputs[0], LabelsOutput))  # fmt: skip


def _parameters(signature: Signature, given: Any) -> tuple[int | None, float | None]:
    """top_k and threshold."""
    if not isinstance(given, dict):
        raise invalid("parameters is an object.", "parameters")
    for name in given:
        if name not in PARAMETERS:
            hint = nearest(name, PARAMETERS)
            raise invalid(f"Unknown parameter {name[:100]!r}: {hint}", f"parameters.{name[:100]}", "unknown_parameter")
    if given.get("function_to_apply") not in (None, "softmax", "sigmoid"):
        message = "The scores are probabilities already: leave function_to_apply out."
        raise invalid(message, "parameters.function_to_apply", "unsupported_parameter")
    top = given.get("top_k")
    if top is not None and (type(top) is not int or top < 1):
        raise invalid("top_k is a whole number from 1 up.", "parameters.top_k")
    return top, _threshold(signature, given.get("threshold"))


def _threshold(signature: Signature, given: Any) -> float | None:
    """The score from which on there are boxes. Raises ApiError 400: no score, or one that the graph does not go to."""
    if given is None:
        return None
    boxes = next((each for each in signature.outputs if isinstance(each, BoxesOutput)), None)
    if boxes is None:
        raise invalid("threshold is for models that find boxes.", "parameters.threshold", "unsupported_parameter")
    if type(given) not in (int, float) or not boxes.least <= given <= 1:
        raise invalid(f"threshold is a score from {boxes.least:g} to 1.", "parameters.threshold")
    return float(given)


def _is_table(signature: Signature) -> bool:
    return len(signature.inputs) == 1 and isinstance(signature.inputs[0], TableInput)


def _is_batch(signature: Signature, inputs: Any) -> bool:
    """A list is a batch, except where an item is a list itself: then a list of those is one."""
    if not isinstance(inputs, list):
        return False
    first = signature.inputs[0]
    if len(signature.inputs) > 1 or first.kind not in ("series", "vector"):
        return True
    if not inputs or not isinstance(inputs[0], list):
        return False
    if first.kind == "vector":
        return True
    assert isinstance(first, SeriesInput)
    if len(first.channels) == 1 and not any(isinstance(each, list) for each in inputs[0]):
        return len(inputs[0]) != 1
    return bool(inputs[0]) and isinstance(inputs[0][0], list)


def _item(signature: Signature, value: Any) -> tuple[Any, ...]:
    if len(signature.inputs) == 1:
        return (_raw(signature.inputs[0], value),)
    names = [each.name for each in signature.inputs]
    if not isinstance(value, dict) or set(value) != set(names):
        raise invalid(f"An item is an object with the keys {', '.join(names)}.", "inputs", "invalid_input")
    return tuple(_raw(each, value[each.name]) for each in signature.inputs)


def _raw(declared: Input, value: Any) -> Any:
    """An input in JSON as the codec reads it: a text or a file as bytes, all else as it is."""
    if declared.kind == "text":
        if not isinstance(value, str):
            raise invalid(f"{declared.name} is a string.", "inputs", "invalid_input")
        return value.encode("utf-8", errors="replace")
    if declared.kind not in RAW:
        return value
    text = value.partition(",")[2] if isinstance(value, str) and value.startswith("data:") else value
    try:
        if isinstance(text, str) and text:
            return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        pass
    message = f"{declared.name}: an encoded {declared.kind} in base64, or its bytes alone as the body."
    raise invalid(message, "inputs", "invalid_input")


def _columns(signature: Signature, table: Any) -> Items:
    """The rows of a table by columns."""
    if not _is_table(signature):
        raise ApiError(400, 'This model takes no table. Send {"inputs": ...}.', param="table", code="invalid_input")
    if not isinstance(table, dict) or not table or not all(isinstance(column, list) for column in table.values()):
        raise invalid('A table is an object of columns, each a list: {"age": [3, 4]}.', "table", "invalid_input")
    lengths = {len(column) for column in table.values()}
    if len(lengths) != 1 or lengths == {0}:
        raise invalid("The columns of the table have no rows, or not equally many.", "table", "invalid_input")
    return [(dict(zip(table, row, strict=True)),) for row in zip(*table.values(), strict=True)]
