"""Tensors of the Open Inference Protocol v2: JSON lists, or raw bytes behind the JSON (the binary tensor extension).

A request with `Inference-Header-Content-Length: N` is N bytes of JSON, then the bytes of those inputs that say
`"parameters": {"binary_data_size": n}`, in order, little-endian. BYTES are elements of a 4-byte length and their bytes.
Protocol: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
Extension: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import base64
import binascii
import json
import math
import struct
from typing import TYPE_CHECKING, Any

from serving.http.errors import ApiError, invalid

if TYPE_CHECKING:
    import numpy as np

HEADER = "inference-header-content-length"
DTYPES = {"BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
          "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}  # fmt: skip
Tensor = dict[str, Any]


def split(body: bytes, header: str | None) -> tuple[dict[str, Any], bytes]:
    """The JSON of a request, and what comes behind it. Raises ApiError 400."""
    length = len(body)
    if header is not None:
        length = int(header) if header.isdecimal() and len(header) < 12 else -1
        if not 0 < length <= len(body):
            raise bad(f"Inference-Header-Content-Length is {header[:50]!r}, but the body has {len(body)} bytes.")
    if not body:
        raise invalid('The body is empty. Send {"inputs": [...]}.', "inputs", "empty_body")
    try:
        found = json.loads(body[:length])
    except (ValueError, RecursionError) as error:
        reason = str(error)[:200] if isinstance(error, ValueError) else "nested too deep"
        raise invalid(f"The body is not valid JSON: {reason}", code="invalid_json") from None
    if not isinstance(found, dict) or not isinstance(found.get("inputs"), list):
        raise bad('Send {"inputs": [{"name", "shape", "datatype", "data"}]}.')
    return found, body[length:]


def elements(tensor: Tensor, binary: bytes | None) -> "list[Any] | np.ndarray":
    """A tensor's elements, flat: bytes for BYTES, an array else. Raises ApiError 400: not what it says it is."""
    import numpy as np

    name, datatype, shape = tensor["name"], tensor["datatype"], tensor["shape"]
    count = math.prod(shape)
    if datatype == "BYTES":
        raw = _strings(name, binary) if binary is not None else [_string(tensor, each) for each in _flat(tensor)]
        if len(raw) != count:
            raise bad(f"{name}: {len(raw)} elements, but the shape {shape} has {count}.")
        return raw
    dtype = np.dtype(DTYPES[datatype])
    if binary is not None:
        if len(binary) != count * dtype.itemsize:
            raise bad(f"{name}: {len(binary)} bytes, but {datatype} {shape} has {count * dtype.itemsize}.")
        return np.frombuffer(binary, dtype)
    flat = _flat(tensor)
    if len(flat) != count:
        raise bad(f"{name}: {len(flat)} elements, but the shape {shape} has {count}.")
    try:
        return np.array([math.nan if each is None and dtype.kind == "f" else each for each in flat]).astype(
            dtype, casting="same_kind" if dtype.kind == "f" else "unsafe"
        )
    except (TypeError, ValueError, OverflowError):
        raise bad(f"{name}: data that is not {datatype}.") from None


def packed(array: "np.ndarray | list[bytes]") -> bytes:
    """The bytes of an output."""
    if isinstance(array, list):
        return b"".join(struct.pack("<I", len(each)) + each for each in array)
    return array.tobytes()


def bad(message: str) -> ApiError:
    """400: a tensor that is not as it should be."""
    return invalid(message, "inputs", "invalid_tensor")


def _flat(tensor: Tensor) -> list[Any]:
    data = tensor.get("data")
    if not isinstance(data, list):
        raise bad(f"{tensor['name']}: there is no data, and no binary_data_size.")
    flat: list[Any] = []
    stack = [iter(data)]
    while stack:
        for each in stack[-1]:
            if isinstance(each, list):
                stack.append(iter(each))
                break
            flat.append(each)
        else:
            stack.pop()
    return flat


def _string(tensor: Tensor, value: Any) -> bytes:
    """An element of BYTES in JSON: text, or base64 where `parameters.content_type` says so."""
    if not isinstance(value, str):
        raise bad(f"{tensor['name']}: BYTES in JSON are strings.")
    if (tensor.get("parameters") or {}).get("content_type") != "base64":
        return value.encode("utf-8", errors="replace")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise bad(f"{tensor['name']}: content_type is base64, and the data is not.") from None


def _strings(name: str, binary: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(binary):
        if at + 4 > len(binary):
            raise bad(f"{name}: BYTES that end inside a length.")
        (size,) = struct.unpack_from("<I", binary, at)
        at += 4
        if at + size > len(binary):
            raise bad(f"{name}: an element of {size} bytes is longer than what is left.")
        found.append(binary[at : at + size])
        at += size
    return found
