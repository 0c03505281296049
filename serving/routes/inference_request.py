"""An inference request of the Open Inference Protocol v2 → raw items, and outputs → its response.

Images, sounds and text are BYTES [B]: each element is an encoded file, or UTF-8. Rows, series and vectors are FP32
[B, ...], or BYTES [B] with an item's JSON each. `B` is the batch. An output of labels has its scores as FP32
[B, labels]; with the parameter `classification: k` it is BYTES [B, k], "score:index:label", as Triton has it.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from base.errors import nearest
from data.signature import Input, LabelsOutput, NumbersOutput, Output, SeriesInput, Signature, TableInput
from serving.routes.binary_tensors import DTYPES, bad, elements, packed

if TYPE_CHECKING:
    import numpy as np

    from serving.engines.forward.graph import Array

BYTES_KINDS = ("image", "audio", "text")
Items = list[tuple[bytes, ...]]


@dataclass(frozen=True)
class Asked:
    """An output that is wanted."""

    output: Output
    place: int
    binary: bool
    classes: int
    """0: the scores."""


def described(part: Input | Output) -> dict[str, Any]:
    """A tensor of the model's metadata; -1: the batch, and what is free."""
    if not isinstance(part, Input):
        labels = (
            part.labels if isinstance(part, LabelsOutput) else part.names if isinstance(part, NumbersOutput) else ()
        )
        return {"name": part.name, "datatype": "FP32", "shape": [-1, *(part.shape or (len(labels) or -1,))]}
    if part.kind in BYTES_KINDS:
        return {"name": part.name, "datatype": "BYTES", "shape": [-1]}
    return {"name": part.name, "datatype": "FP32", "shape": [-1, *_shape(part)]}


def items(signature: Signature, request: dict[str, Any], behind: bytes) -> Items:
    """The items of a request. Raises ApiError 400."""
    named: dict[str, list[bytes]] = {}
    at = 0
    for tensor in request["inputs"]:
        declared = _declared(signature, tensor)
        size = (tensor.get("parameters") or {}).get("binary_data_size")
        binary = None
        if size is not None:
            if type(size) is not int or size < 0 or at + size > len(behind):
                raise bad(f"{declared.name}: binary_data_size {size!r} is not what the body has.")
            binary, at = behind[at : at + size], at + size
        named[declared.name] = _rows(declared, tensor, binary)
    if missing := [each.name for each in signature.inputs if each.name not in named]:
        raise bad(f"The input {missing[0]} is missing.")
    if at != len(behind):
        raise bad(f"{len(behind) - at} bytes behind the JSON belong to no input.")
    columns = [named[each.name] for each in signature.inputs]
    if len({len(column) for column in columns}) != 1 or not columns[0]:
        raise bad("The inputs have no items, or not equally many.")
    return list(zip(*columns, strict=True))


def outputs(signature: Signature, request: dict[str, Any]) -> list[Asked]:
    """What the response is to hold: the outputs that are named, else all. Raises ApiError 400."""
    parameters = request.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise bad("parameters is an object.")
    everywhere = bool(parameters.get("binary_data_output"))
    places = {output.name: place for place, output in enumerate(signature.outputs)}
    wanted = request.get("outputs") or [{"name": name} for name in places]
    asked = []
    for each in wanted if isinstance(wanted, list) else [wanted]:
        if not isinstance(each, dict) or each.get("name") not in places:
            name = str(each.get("name") if isinstance(each, dict) else each)[:100]
            raise bad(f"There is no output {name!r}: {nearest(name, places)}")
        own = each.get("parameters") or {}
        classes = own.get("classification", 0) if isinstance(own, dict) else 0
        output = signature.outputs[places[each["name"]]]
        if type(classes) is not int or classes < 0 or (classes and not isinstance(output, LabelsOutput)):
            raise bad(f"{output.name}: classification is a number of labels, for an output of labels.")
        binary = bool(own.get("binary_data", everywhere))
        asked.append(Asked(output, places[output.name], binary, classes))
    return asked


def response(head: dict[str, Any], asked: Sequence[Asked], rows: "Sequence[tuple[Array, ...]]") -> tuple[bytes, int]:
    """The body of the response, and the length of its JSON; where these are equal nothing is binary."""
    import numpy as np

    tensors, behind = [], b""
    for each in asked:
        array: Any = np.stack([row[each.place] for row in rows]).astype(np.float32, copy=False)
        tensor: dict[str, Any] = {"name": each.output.name, "datatype": "FP32", "shape": list(array.shape)}
        if each.classes:
            strings = [text for row in array for text in _classes(each, row)]
            tensor |= {"datatype": "BYTES", "shape": [len(rows), len(strings) // len(rows)]}
            array = [text.encode() for text in strings]
        if each.binary:
            raw = packed(array)
            tensor["parameters"] = {"binary_data_size": len(raw)}
            behind += raw
        else:
            tensor["data"] = [text.decode() for text in array] if each.classes else array.reshape(-1).tolist()
        tensors.append(tensor)
    made = json.dumps(head | {"outputs": tensors}, ensure_ascii=False, separators=(",", ":")).encode()
    return made + behind, len(made)


def _declared(signature: Signature, tensor: Any) -> Input:
    """The input that a tensor is for; its name, datatype and shape are checked. Raises ApiError 400."""
    names = {each.name: each for each in signature.inputs}
    if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str) or tensor["name"] not in names:
        name = str(tensor.get("name") if isinstance(tensor, dict) else tensor)[:100]
        raise bad(f"There is no input {name!r}: {nearest(name, names)}")
    declared, shape, datatype = names[tensor["name"]], tensor.get("shape"), tensor.get("datatype")
    if not isinstance(shape, list) or not shape or not all(type(size) is int and 0 <= size < 1 << 31 for size in shape):
        raise bad(f"{declared.name}: shape is a list of sizes, the batch first.")
    if not isinstance(tensor.get("parameters") or {}, dict):
        raise bad(f"{declared.name}: parameters is an object.")
    if datatype == "BYTES":
        if len(shape) != 1 and not (len(shape) == 2 and shape[1] == 1):
            raise bad(f"{declared.name}: BYTES have the shape [B], not {shape}.")
        return declared
    if declared.kind in BYTES_KINDS or datatype not in DTYPES:
        raise bad(f"{declared.name}: datatype is BYTES, each element an encoded item, not {str(datatype)[:50]!r}.")
    expected = _shape(declared)
    if len(shape) != 1 + len(expected) or any(
        want not in (-1, size) for want, size in zip(expected, shape[1:], strict=True)
    ):
        raise bad(f"{declared.name}: the shape is {[-1, *expected]}, -1 the batch or free, not {shape}.")
    return declared


def _rows(declared: Input, tensor: dict[str, Any], binary: bytes | None) -> list[bytes]:
    """The raw items of a tensor."""
    flat = elements(tensor, binary)
    if isinstance(flat, list):
        return flat
    array = flat.reshape(tensor["shape"])
    if isinstance(declared, TableInput):
        return [_row(declared, row) for row in array.tolist()]
    return [json.dumps(_null(row)).encode() for row in array.tolist()]


def _row(declared: TableInput, row: list[float]) -> bytes:
    """A row of numbers and codes as a client would word it."""
    named: dict[str, Any] = {}
    for column, value in zip(declared.columns, row, strict=True):
        if column.kind == "number":
            named[column.name] = _null(value)
        else:
            known = not math.isnan(value) and value == int(value) and 1 <= value <= len(column.categories)
            named[column.name] = column.categories[int(value) - 1] if known else None
    return json.dumps(named).encode()


def _null(value: Any) -> Any:
    if isinstance(value, list):
        return [_null(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _shape(declared: Input) -> list[int]:
    if isinstance(declared, TableInput):
        return [len(declared.columns)]
    if isinstance(declared, SeriesInput):
        return [-1, len(declared.channels)]
    return list(declared.shape) or [-1]


def _classes(asked: Asked, scores: "np.ndarray") -> list[str]:
    assert isinstance(asked.output, LabelsOutput)
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[: asked.classes]
    return [f"{scores[i]:f}:{i}:{asked.output.labels[i]}" for i in order]
