"""POST /v1/embeddings: texts → vectors, for a bundle whose one input is a text and whose one output a vector."""

import asyncio
from typing import TYPE_CHECKING, Any

from fastapi import Request, Response

from data.signature import Signature, TextInput, VectorOutput
from serving.http.body import read_body
from serving.http.errors import invalid
from serving.http.stream import while_connected
from serving.routes.able import able
from serving.routes.embeddings_schema import EmbeddingsRequest, answer
from serving.routes.schema import parse
from serving.runtime.runtime import Runtime

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from serving.engines.forward.graph import Prepared

BATCHES = 4
"""Largest batches of a long list that wait or run at once: others get in between, and the graph has no pause."""


async def embed(runtime: Runtime, request: Request) -> Response:
    """Answer a request. Raises ApiError."""
    settings, fields = runtime.settings, request.scope["metroline"]["fields"]
    wanted = parse(await read_body(request, settings.body_limit, settings.body_seconds), EmbeddingsRequest)
    await runtime.until_ready()
    served = able(runtime, request, wanted.model, embeds, "makes no embeddings", "no_embeddings")
    (text,), (output,) = served.bundle.typed.inputs, served.bundle.typed.outputs
    assert isinstance(text, TextInput)
    assert isinstance(output, VectorOutput)
    numbers = _numbers(output, wanted.dimensions)
    prefix = {"query": text.query_prefix, "document": text.document_prefix}.get(wanted.input_type or "", "")
    items = [(_prefixed(prefix, each),) for each in wanted.inputs]
    tokens = 0

    def admit(ready: "list[Prepared]") -> None:
        nonlocal tokens
        tokens = sum(each.length for each in ready)
        request.scope["metroline"]["caller"].spend(tokens, "input")
        fields.update(items=len(items), prompt_tokens=tokens, completion_tokens=0)

    window = min(BATCHES * served.engine.largest, served.engine.most)
    work = served.engine.answer(items, fields["request_id"], window=window, admit=admit, param="input")
    vectors = [_first(arrays[0], numbers) for arrays in await while_connected(request.receive, work)]
    body = await asyncio.to_thread(answer, served.name, vectors, tokens, wanted.encoding_format)
    return Response(body, media_type="application/json")


def embeds(signature: Signature | None) -> bool:
    """Whether a model with this signature makes one vector of one text."""
    return (signature is not None and signature.engine == "forward"
            and [each.kind for each in (*signature.inputs, *signature.outputs)] == ["text", "vector"])  # fmt: skip


def _numbers(output: VectorOutput, wanted: int | None) -> int:
    """How many numbers of each vector are asked for. Raises ApiError 400."""
    (size,) = output.shape
    possible = sorted({*output.dimensions, size})
    if wanted is None or wanted in possible:
        return wanted or size
    message = f"dimensions is {' or '.join(map(str, possible))} here: the model was trained for no others."
    raise invalid(message, "dimensions", "unsupported_dimensions")


def _prefixed(prefix: str, value: str | tuple[int, ...]) -> str | tuple[int, ...]:
    if not prefix:
        return value
    if isinstance(value, tuple):
        message = f"This model puts {prefix!r} before a text of this input_type: send texts, not token ids."
        raise invalid(message, "input_type", "input_type_needs_text")
    return prefix + value


def _first(vector: "NDArray[Any]", numbers: int) -> "NDArray[np.float32]":
    """The first so many numbers, of length 1 again where they are not all."""
    if numbers == vector.size:
        return vector
    import numpy as np

    kept = vector[:numbers]
    made: NDArray[np.float32] = (kept / max(float(np.linalg.norm(kept)), 1e-12)).astype(np.float32)
    return made
