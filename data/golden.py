"""Golden items: raw inputs and the answers that the trained model gave, which travel in the bundle.

    golden.write(bundle, signature, inputs, outputs)          # the exporter: what the trained model said
    for item in golden.load(bundle, signature):               # exporter, server and release: what others say
        problem = golden.compare(signature, item, got, "fp32")

The inputs are the bytes that a client would send, so that decoding, resizing, normalising and naming are compared too.
golden/golden.json: a list of {"inputs": [...], "outputs": {name: answer}}; an image or a sound is {"file": ...}, text
and JSON stand inline; labels are stored by their names. It runs no model and decodes nothing.
"""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from base.errors import MetrolineError
from base.files import read_json, write_json
from data.boxes import apart as boxes_apart
from data.boxes import rows_of
from data.ctc import worded as transcribed
from data.masks import shares
from data.series import from_channels
from data.signature import (
    BoxesOutput,
    Input,
    LabelsOutput,
    MaskOutput,
    NumbersOutput,
    Output,
    SeriesOutput,
    Signature,
    TextOutput,
    TranscriptOutput,
    VectorOutput,
)

FOLDER = "golden"
FILE = f"{FOLDER}/golden.json"
TOLERANCE = {"fp32": 1e-4}
"""Of a score, absolute; of a number, relative to the larger of itself and the median of the items' numbers; of a
vector, how far it is from the wanted one, relative to that one's length; of boxes as `data.boxes.apart` says."""
MASK = 0.02
"""Of a label's share of a cell of a mask: so many of its pixels may be another label's, at the borders."""
BOX = 1e-3
"""Of a box's side, relative to its size, and of its score: resizing may round a grey level otherwise elsewhere."""
QUANTIZED = 0.15
"""The same for int8 and int4, which differ from the trained model by what the quality gate allowed."""
AGAIN = "export the model again"
KINDS = {b"\x89PNG": ("png", "image/png"), b"\xff\xd8\xff": ("jpg", "image/jpeg"), b"RIFF": ("wav", "audio/wav"),
         b"fLaC": ("flac", "audio/flac")}  # fmt: skip

Answer = dict[str, float] | list[float] | str
"""Of labels and numbers: by name; of a vector: the list; of boxes: the numbers of their rows; of a
transcript: the text."""


@dataclass(frozen=True)
class Item:
    """One golden item."""

    inputs: tuple[bytes, ...]
    """One for each input of the signature: an encoded image, UTF-8 text, a row as JSON."""
    outputs: Mapping[str, Answer]
    scales: Mapping[str, float]
    """Output → the median size of its numbers over all items."""


def write(
    bundle: Path, signature: Signature, inputs: Iterable[Sequence[bytes]], outputs: Iterable[Mapping[str, Any]]
) -> None:
    """Write golden/ into `bundle`. `outputs`: for each item, output name → its array without the batch.

    Raises MetrolineError: an answer that is not finite, or of another size than the signature says.
    """
    (bundle / FOLDER).mkdir(exist_ok=True)
    items = []
    for i, (raw, arrays) in enumerate(zip(inputs, outputs, strict=True)):
        stored: list[Any] = []
        for j, (declared, each) in enumerate(zip(signature.inputs, raw, strict=True)):
            if declared.kind in ("image", "audio"):
                name = f"{FOLDER}/{i}-{j}.{_kind(each)[0]}"
                (bundle / name).write_bytes(each)
                stored.append({"file": name})
            else:
                stored.append(_value(declared, each))
        items.append(
            {"inputs": stored, "outputs": {each.name: answer(each, arrays[each.name]) for each in signature.outputs}}
        )
    write_json(bundle / FILE, items)


def load(bundle: Path, signature: Signature) -> list[Item]:
    """The golden items of a bundle. Raises MetrolineError: none there, or not of this signature."""
    path = bundle / FILE
    try:
        entries = read_json(path)
        inputs = [_raw(bundle, signature, entry["inputs"]) for entry in entries]
        outputs = [
            {each.name: answer(each, entry["outputs"][each.name]) for each in signature.outputs} for entry in entries
        ]
    except FileNotFoundError as error:
        raise MetrolineError(f"{bundle}: {Path(error.filename).name} is missing", hint=AGAIN) from None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise MetrolineError(f"{path} does not fit signature.json: {error!r}", hint=AGAIN) from None
    if not entries:
        raise MetrolineError(f"{path} holds no item", hint=AGAIN)
    scales = {
        each.name: float(np.median(np.abs([number for one in outputs for number in _numbers(one[each.name])] or [0.0])))
        for each in signature.outputs
    }
    return [Item(raw, one, scales) for raw, one in zip(inputs, outputs, strict=True)]


def compare(signature: Signature, expected: Item, got: Mapping[str, Any], precision: str = "fp32") -> str | None:
    """What is wrong with the answers `got`, in words; None: they are the expected ones.

    `got`: output name → its array without the batch, or the answer as the endpoint words it. Of labels the likeliest
    must be the same, unless the expected scores of the two are closer than twice the tolerance of a quantized graph.
    """
    for output in signature.outputs:
        if output.name not in got:
            return f"{output.name}: no answer"
        try:
            found = answer(output, got[output.name])
        except MetrolineError as error:
            return str(error)
        if problem := _differ(output, expected.outputs[output.name], found, expected.scales[output.name], precision):
            return f"{output.name}: {problem}"
    return None


def answer(output: Output, value: Any) -> Answer:
    """An output by its names. `value`: the array, the stored answer, or the endpoint's [{"label", "score"}].

    Raises MetrolineError: other names, another size, not finite.
    """
    names = _names(output)
    if isinstance(output, LabelsOutput) and isinstance(value, list) and value and isinstance(value[0], Mapping):
        value = {str(each.get("label")): each.get("score") for each in value}
    if isinstance(output, MaskOutput):
        try:
            value = shares(output, value)
        except (KeyError, TypeError, ValueError, OSError):
            raise MetrolineError(f"{output.name}: the answer is no mask of {_some(output.labels)}") from None
    if isinstance(output, TranscriptOutput):
        return _text(output, value)
    if isinstance(output, BoxesOutput):
        try:
            value = rows_of(output, value)
        except (KeyError, TypeError, ValueError):
            raise MetrolineError(f"{output.name}: the answer is no boxes of {_some(output.labels)}") from None
    if isinstance(output, SeriesOutput) and isinstance(value, Mapping):
        try:
            value = from_channels(output, value)
        except (KeyError, TypeError, ValueError, IndexError):
            raise MetrolineError(
                f"{output.name}: the answer has {_some(value)}, not {_some(output.channels)}"
            ) from None
    if isinstance(value, Mapping):
        if names is None or set(value) != set(names):
            raise MetrolineError(f"{output.name}: the answer has {_some(value)}, not {_some(names or ())}")
        value = [value[name] for name in names]
    try:
        numbers = np.asarray(value, np.float64).reshape(-1)
    except (TypeError, ValueError):
        raise MetrolineError(f"{output.name}: {str(value)[:100]!r} is no list of numbers") from None
    if names is not None and len(numbers) != len(names):
        raise MetrolineError(f"{output.name}: {len(numbers)} numbers, but the signature names {len(names)}")
    if not np.isfinite(numbers).all():
        raise MetrolineError(f"{output.name}: the answer is not finite")
    return numbers.tolist() if names is None else dict(zip(names, numbers.tolist(), strict=True))


def request(signature: Signature, item: Item) -> tuple[bytes, str]:
    """An item as the body of POST /v1/models/NAME/predict, and its content type."""
    labels = [len(each.labels) for each in signature.outputs if isinstance(each, LabelsOutput) and each.top]
    parameters = {"parameters": {"top_k": max(labels)}} if labels else {}  # all of them are compared
    if len(item.inputs) == 1 and signature.inputs[0].kind in ("image", "audio") and not labels:
        return item.inputs[0], _kind(item.inputs[0])[1]
    values = {
        each.name: base64.b64encode(raw).decode() if each.kind in ("image", "audio") else _value(each, raw)
        for each, raw in zip(signature.inputs, item.inputs, strict=True)
    }
    inputs = next(iter(values.values())) if len(values) == 1 else values
    return json.dumps({"inputs": inputs, **parameters}, ensure_ascii=False).encode(), "application/json"


def answers(signature: Signature, body: Any) -> dict[str, Any]:
    """The JSON that /predict answered to one item → output name → answer, for `compare`."""
    if len(signature.outputs) > 1:
        return dict(body) if isinstance(body, Mapping) else {}
    if isinstance(body, list) and len(body) == 1 and isinstance(body[0], list):
        body = body[0]  # labels of a text stand in one more list
    return {signature.outputs[0].name: body}


def _differ(output: Output, expected: Answer, found: Answer, scale: float, precision: str) -> str | None:
    if isinstance(output, TranscriptOutput):
        return None if expected == found else f"{str(found)[:100]!r}, expected {str(expected)[:100]!r}"
    tolerance = TOLERANCE.get(precision, QUANTIZED)
    wanted, given = np.array(_numbers(expected)), np.array(_numbers(found))
    if isinstance(output, BoxesOutput):
        distance = boxes_apart(rows_of(output, wanted), rows_of(output, given), output.threshold)
        allowance = max(tolerance, BOX)
        return None if distance <= allowance else f"boxes are off by {distance:.2g} (± {allowance:.2g})"
    if wanted.shape != given.shape:
        return f"{given.size} numbers, expected {wanted.size}"
    if isinstance(output, VectorOutput):
        distance = apart(wanted[None], given[None])
        return None if distance <= tolerance else f"off by {distance:.2g} of its length (± {tolerance:.2g})"
    if isinstance(output, LabelsOutput):
        first, other = output.labels[int(wanted.argmax())], output.labels[int(given.argmax())]
        close = precision not in TOLERANCE and wanted.max() - wanted[given.argmax()] <= 2 * tolerance
        if first != other and not close:
            return f"{other}, expected {first} (score {wanted.max():.5f})"
        allowed = np.full_like(wanted, tolerance)
    elif isinstance(output, MaskOutput):
        allowed = np.full_like(wanted, max(tolerance, MASK))
    else:
        allowed = tolerance * np.maximum(np.abs(wanted), scale)
    worst = int((np.abs(given - wanted) - allowed).argmax())
    if abs(given[worst] - wanted[worst]) <= allowed[worst]:
        return None
    name = (_names(output) or range(wanted.size))[worst]
    return f"{name}: {given[worst]:.6g}, expected {wanted[worst]:.6g} (± {allowed[worst]:.2g})"


def apart(wanted: NDArray[Any], given: NDArray[Any]) -> float:
    """The largest distance of two vectors, one a row, relative to the length of the wanted one."""
    length = np.linalg.norm(np.asarray(wanted, np.float64), axis=1)
    distance = np.linalg.norm(np.asarray(given, np.float64) - wanted, axis=1)
    return float((distance / np.where(length > 0, length, 1.0)).max())


def _names(output: Output) -> tuple[str, ...] | None:
    if isinstance(output, TextOutput):
        raise MetrolineError(f"{output.name}: text is not compared by golden items")
    if isinstance(output, LabelsOutput):
        return output.labels
    return output.names if isinstance(output, NumbersOutput) else None


def _text(output: TranscriptOutput, value: Any) -> str:
    """A transcript: of frames [frames, symbols], or the answer's."""
    text = value["text"] if isinstance(value, Mapping) and "text" in value else value
    if isinstance(text, str):
        return text
    try:
        return str(transcribed(output, np.asarray(value, np.float64).reshape(-1, len(output.alphabet)))["text"])
    except (TypeError, ValueError):
        raise MetrolineError(f"{output.name}: {str(value)[:100]!r} is no transcript") from None


def _numbers(value: Answer) -> list[float]:
    if isinstance(value, str):
        return []
    return list(value.values()) if isinstance(value, dict) else value


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _kind(raw: bytes) -> tuple[str, str]:
    return next((kind for magic, kind in KINDS.items() if raw.startswith(magic)), ("bin", "application/octet-stream"))


def _value(declared: Input, raw: bytes) -> Any:
    return raw.decode() if declared.kind == "text" else json.loads(raw)


def _raw(bundle: Path, signature: Signature, stored: Sequence[Any]) -> tuple[bytes, ...]:
    raw = []
    for declared, each in zip(signature.inputs, stored, strict=True):
        if declared.kind in ("image", "audio"):
            name = each["file"]
            if Path(name).parent != Path(FOLDER):
                raise ValueError(f"{name} is not in {FOLDER}/")
            raw.append((bundle / name).read_bytes())
        else:
            raw.append(each.encode() if declared.kind == "text" else json.dumps(each).encode())
    return tuple(raw)
