"""The Open Inference Protocol v2 (KServe, Triton), for models that answer in one call. Triton's own clients fit.

GET  /v2, /v2/health/live, /v2/health/ready
GET  /v2/models/{model}[/versions/{version}][/ready]
POST /v2/models/{model}[/versions/{version}]/infer
"""

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from serving.http.body import read_bytes
from serving.http.errors import ApiError, unknown_model
from serving.http.stream import while_connected
from serving.routes import inference_request
from serving.routes.binary_tensors import HEADER, split
from serving.routes.predict import forward_model, limit
from serving.runtime.runtime import Runtime

EXTENSIONS = ["binary_tensor_data", "classification"]
_TENSOR = {"type": "object", "required": ["name", "shape", "datatype"], "properties": {
    "name": {"type": "string"}, "shape": {"type": "array", "items": {"type": "integer"}},
    "datatype": {"type": "string"}, "data": {"type": "array"}, "parameters": {"type": "object"}}}  # fmt: skip
BODY: dict[str, Any] = {"requestBody": {"required": True, "content": {"application/json": {"schema": {
    "type": "object", "required": ["inputs"], "properties": {
        "id": {"type": "string"}, "inputs": {"type": "array", "items": _TENSOR}, "outputs": {"type": "array"},
        "parameters": {"type": "object"}}}}}}}  # fmt: skip
JSON_TYPES = ("application/json", "application/octet-stream", "application/vnd.inference.binary+json")


def add(app: FastAPI, runtime: Runtime) -> None:
    """Add the protocol's routes."""

    @app.get("/v2")
    async def server() -> dict[str, Any]:
        """The server's metadata."""
        return {"name": "metroline", "version": version("metroline"), "extensions": EXTENSIONS}

    @app.get("/v2/health/live")
    async def live() -> Response:
        """Nothing is broken for good."""
        return health(runtime.alive)

    @app.get("/v2/health/ready")
    async def ready() -> Response:
        """Every model answers."""
        return health(runtime.ready)

    @app.get("/v2/models/{model}/ready")
    async def model_ready(model: str) -> Response:
        """A model answers."""
        return await readiness(runtime, model, None)

    @app.get("/v2/models/{model}/versions/{version}/ready")
    async def version_ready(model: str, version: str) -> Response:
        """A model answers."""
        return await readiness(runtime, model, version)

    @app.get("/v2/models/{model}")
    async def model_metadata(request: Request, model: str) -> Response:
        """A model's inputs and outputs."""
        return await metadata(runtime, request, model, None)

    @app.get("/v2/models/{model}/versions/{version}")
    async def version_metadata(request: Request, model: str, version: str) -> Response:
        """A model's inputs and outputs."""
        return await metadata(runtime, request, model, version)

    @app.post("/v2/models/{model}/infer", openapi_extra=BODY)
    async def model_infer(request: Request, model: str) -> Response:
        """Answer a batch of tensors."""
        return await infer(runtime, request, model, None)

    @app.post("/v2/models/{model}/versions/{version}/infer", openapi_extra=BODY)
    async def version_infer(request: Request, model: str, version: str) -> Response:
        """Answer a batch of tensors."""
        return await infer(runtime, request, model, version)


def health(good: bool) -> Response:
    """An empty 200, or 503."""
    return Response(status_code=200 if good else 503)


async def readiness(runtime: Runtime, model: str, version: str | None) -> Response:
    """Does a model answer? Raises ApiError 404: it is not here."""
    if runtime.state != "ready":
        return health(False)
    return health(runtime.pick(_name(runtime, model, version)).engine.ready)


async def metadata(runtime: Runtime, request: Request, model: str, version: str | None) -> Response:
    """A model's inputs and outputs. Raises ApiError."""
    await runtime.until_ready()
    served = await forward_model(runtime, request, _name(runtime, model, version), room=False)
    signature = served.bundle.typed
    return JSONResponse({
        "name": served.name, "versions": [served.bundle.version], "platform": "onnxruntime_onnx",
        "inputs": [inference_request.described(each) for each in signature.inputs],
        "outputs": [inference_request.described(each) for each in signature.outputs],
    })  # fmt: skip


async def infer(runtime: Runtime, request: Request, model: str, version: str | None) -> Response:
    """Answer a batch. Raises ApiError."""
    await runtime.until_ready()
    served = await forward_model(runtime, request, _name(runtime, model, version))
    settings, fields = runtime.settings, request.scope["metroline"]["fields"]
    header = request.headers.get(HEADER)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    # Triton's clients do not say what they send; a web page that does not is another site's.
    if kind not in JSON_TYPES and (kind or "origin" in request.headers):
        message = "Send JSON, with Content-Type: application/json, or with Inference-Header-Content-Length."
        raise ApiError(415, message, code="unsupported_media_type")
    body, behind = split(await read_bytes(request, limit(runtime, served), settings.body_seconds), header)
    signature = served.bundle.typed
    asked = inference_request.outputs(signature, body)
    items = inference_request.items(signature, body, behind)
    fields["items"] = len(items)
    work = served.engine.answer(items, fields["request_id"])
    rows = await while_connected(request.receive, work)
    head = {"model_name": served.name, "model_version": served.bundle.version}
    if isinstance(body.get("id"), str):
        head["id"] = body["id"]
    made, length = inference_request.response(head, asked, rows)
    if length == len(made):
        return Response(made, media_type="application/json")
    return Response(
        made, media_type="application/octet-stream", headers={"Inference-Header-Content-Length": str(length)}
    )


def _name(runtime: Runtime, model: str, version: str | None) -> str:
    """As `Runtime.pick` takes it. "1" is the version of clients that must name one."""
    if version in (None, "", "1"):
        return model
    there = [f"{each.name}:{each.bundle.version}" for each in (*runtime.models, *runtime.candidates)]
    if f"{model}:{version}" not in there:
        raise unknown_model(f"{model}:{version}", there)
    return f"{model}:{version}"
