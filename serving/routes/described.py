"""The OpenAPI description of /predict, generated from the signatures of the models that are loaded."""

from typing import TYPE_CHECKING, Any

from data.boxes import SIDES
from data.series import levels
from data.signature import (
    BoxesOutput,
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
from serving.routes.predict_request import RAW, nested

if TYPE_CHECKING:
    from serving.runtime.runtime import Runtime

PATH = "/v1/models/{model}/predict"
Schema = dict[str, Any]
_NUMBERS: Schema = {"type": "array", "items": {"type": "number"}}
_PARAMETERS: Schema = {"type": "object", "properties": {
    "top_k": {"type": "integer", "minimum": 1},
    "threshold": {"type": "number", "minimum": 0, "maximum": 1}}}  # fmt: skip
ANY: Schema = {"requestBody": {"required": True, "content": {"application/json": {"schema": {
    "type": "object", "required": ["inputs"], "properties": {"inputs": {}, "parameters": _PARAMETERS}}}}}}  # fmt: skip


def add(made: Schema, runtime: "Runtime") -> bool:
    """Describe bodies and answers of each loaded model's /predict, below its own name.

    Returns whether all are loaded.
    """
    operation = made["paths"].get(PATH, {}).get("post")
    for served in runtime.models if operation else ():
        signature = served.bundle.signature
        if served.bundle.engine != "forward" or signature is None:
            continue
        own = {**operation, "operationId": f"predict_{served.name}", "summary": f"{signature.task}: {served.name}",
               "requestBody": body(signature)}  # fmt: skip
        own["parameters"] = [each for each in operation.get("parameters", []) if each["name"] != "model"]
        answer = {"description": "The answer", "content": {"application/json": {"schema": answers(signature)}}}
        own["responses"] = operation["responses"] | {"200": answer}
        made["paths"][PATH.format(model=served.name)] = {"post": own}
    return runtime.state == "ready"


def body(signature: Signature) -> Schema:
    """What a request may hold: JSON, and the bytes themselves where an image or a sound is the only input."""
    schemas = {each.name: item(each) for each in signature.inputs}
    one = next(iter(schemas.values())) if len(schemas) == 1 else _object(schemas)
    batch = {"type": "array", "items": one, "minItems": 1}
    wanted = _object({"inputs": {"anyOf": [one, batch]}, "parameters": _PARAMETERS}) | {"required": ["inputs"]}
    content: Schema = {"application/json": {"schema": wanted}}
    if len(schemas) == 1 and (kind := signature.inputs[0].kind) in RAW:
        content[f"{kind}/*"] = {"schema": {"type": "string", "format": "binary"}}
    return {"required": True, "content": content}


def item(declared: Input) -> Schema:
    """One item of an input."""
    if declared.kind in RAW:
        return {"type": "string", "contentEncoding": "base64"}
    if isinstance(declared, TextInput):
        needed = f", {declared.mask} once among them" if declared.mask else ""
        return {"type": "string", "minLength": 1, "description": f"at most {declared.length} tokens{needed}"}
    if isinstance(declared, SeriesInput):
        return {"type": "array", "items": {"anyOf": [{"type": ["number", "null"]}, _NUMBERS]}}
    if not isinstance(declared, TableInput):
        return _NUMBERS
    columns: dict[str, Schema] = {}
    for column in declared.columns:
        kinds = ["number" if column.kind == "number" else "string"] + ["null"] * column.missing
        columns[column.name] = {"type": kinds} | ({} if column.example is None else {"example": column.example})
    return _object(columns)


def answers(signature: Signature) -> Schema:
    """The answer to one item, or to a batch."""
    schemas = {each.name: _answer(each) for each in signature.outputs}
    one = next(iter(schemas.values())) if len(schemas) == 1 else _object(schemas)
    many = {"type": "array", "items": one}
    return many if nested(signature) else {"anyOf": [one, many]}


def _answer(output: Output) -> Schema:
    if isinstance(output, LabelsOutput):
        name: Schema = {"type": "string"} | ({} if output.top else {"enum": list(output.labels)})  # or thousands
        return {"type": "array", "items": _object({"label": name, "score": {"type": "number"}})}
    if isinstance(output, NumbersOutput):
        return _object({name: {"type": "number"} for name in output.names})
    if isinstance(output, TranscriptOutput):
        word = _object({"text": {"type": "string"}, "timestamp": _NUMBERS})
        return _object({"text": {"type": "string"}, "chunks": {"type": "array", "items": word}})
    if isinstance(output, BoxesOutput):
        box = _object({side: {"type": "number"} for side in SIDES})
        name = {"type": "string", "enum": list(output.labels)}
        return {"type": "array", "items": _object({"label": name, "score": {"type": "number"}, "box": box})}
    if isinstance(output, MaskOutput):
        number: Schema = {"type": "number"}
        png = {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png"}
        name = {"type": "string", "enum": list(output.labels)}
        return {"type": "array", "items": _object({"label": name, "score": number, "area": number, "mask": png})}
    if isinstance(output, SeriesOutput):
        each = _object(dict.fromkeys(levels(output), _NUMBERS))
        return _object(dict.fromkeys(output.channels, each))
    return _NUMBERS


def _object(properties: dict[str, Schema]) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties, "additionalProperties": False}
