"""POST /v1/models/{model}/predict: the input as it is, or JSON in the words of Hugging Face's tasks.

curl --data-binary @cat.jpg HOST/v1/models/cats/predict
curl --json '{"inputs": {"age": 3}}' HOST/v1/models/prices/predict
InferenceClient(model="http://HOST/v1/models/cats/predict").image_classification("cat.jpg")
"""

import asyncio
from typing import TYPE_CHECKING

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from serving.http.body import read_body, read_bytes
from serving.http.errors import ApiError, wrong_engine
from serving.http.stream import while_connected
from serving.routes.predict_request import RAW, Wanted, answer, from_bytes, from_json, readable
from serving.runtime.runtime import Runtime

if TYPE_CHECKING:
    from serving.runtime.forward_model import ForwardModel

PATH = "/v1/models/{model}/predict"
FORMS = ("", "application/x-www-form-urlencoded", "application/octet-stream", "text/plain")
"""Content types that say nothing of what is sent; the second is what curl says by itself."""

QUICK = 1 << 14
"""Numbers of an answer that are put into words on the event loop itself. Masks of one large image take 50 ms, in which
no stream would go on."""
TYPES = {"image": ("image/",), "audio": ("audio/",), "text": ("text/plain",)}
"""Kind of input → how the content types of its bytes begin."""


async def predict(runtime: Runtime, request: Request, model: str) -> Response:
    """Answer a request. Raises ApiError."""
    served = await forward_model(runtime, request, model)
    from serving.engines.forward.answers import all_worded, label

    signature, fields = served.bundle.typed, request.scope["metroline"]["fields"]
    wanted = await _read(runtime, request, served)
    fields["items"] = len(wanted.items)
    work = served.engine.answer(wanted.items, fields["request_id"])
    outputs = await while_connected(request.receive, work)
    if runtime.kept.on:
        labels = [label(signature, arrays) for arrays in outputs]
        runtime.kept.answered(
            served, fields, labels,
            lambda: [readable(signature, item) for item in wanted.items],
            lambda: [all_worded(signature, arrays) for arrays in outputs],
        )  # fmt: skip
    read = any(output.kind == "transcript" for output in signature.outputs)  # by beam search
    if not read and sum(array.size for arrays in outputs for array in arrays) <= QUICK:
        return JSONResponse(answer(signature, wanted, outputs))
    return await asyncio.to_thread(lambda: JSONResponse(answer(signature, wanted, outputs)))


async def forward_model(runtime: Runtime, request: Request, name: str, *, room: bool = True) -> "ForwardModel":
    """The model that a path names. Raises ApiError: 404 unknown, 400 one that answers elsewhere, 429 no room."""
    await runtime.until_ready()
    from serving.runtime.forward_model import ForwardModel

    served = runtime.routed(request.scope, runtime.pick(name), name)
    if not isinstance(served, ForwardModel):
        raise wrong_engine(served.name, request.url.path, served.bundle.engine)
    if room and (refusal := served.engine.refusal()):
        raise refusal
    return served


def limit(runtime: Runtime, served: "ForwardModel") -> int:
    """Bytes of a body, at most: images and sounds are larger than text."""
    media = any(each.kind in RAW for each in served.bundle.typed.inputs)
    settings = runtime.settings
    return max(settings.media_limit, settings.body_limit) if media else settings.body_limit


async def _read(runtime: Runtime, request: Request, served: "ForwardModel") -> Wanted:
    settings, signature = runtime.settings, served.bundle.typed
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    most = limit(runtime, served)
    if kind == "application/json" or kind.endswith("+json"):
        return from_json(signature, await read_body(request, most, settings.body_seconds))
    only = signature.inputs[0].kind if len(signature.inputs) == 1 else None
    taken = TYPES.get(only or "", ())
    simple = kind in FORMS and only in RAW
    if simple and "origin" in request.headers:
        # A web page of another site can send these without being asked for permission.
        raise _unread(f"Send the {only} with its own Content-Type, as in {only}/*.")
    if not simple and not (taken and kind.startswith(taken)):
        how = f"the {only} itself, with Content-Type: {taken[0]}..., or JSON" if taken else "JSON"
        raise _unread(f"Send {how}, with Content-Type: application/json.")
    return from_bytes(signature, await read_bytes(request, most, settings.body_seconds))


def _unread(message: str) -> ApiError:
    return ApiError(415, message, code="unsupported_media_type")
