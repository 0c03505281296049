"""Which model answers a request that only some models can: the one it names, or the first that can."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from fastapi import Request

from data.signature import Signature
from serving.http.errors import invalid
from serving.runtime.runtime import Runtime

if TYPE_CHECKING:
    from serving.runtime.forward_model import ForwardModel
    from serving.runtime.loaded_model import LoadedModel


def able(
    runtime: Runtime, request: Request, name: str | None, can: Callable[[Signature | None], bool], lacks: str, code: str
) -> "ForwardModel":
    """The model. `can`: whether one with this signature answers; `lacks`: what the others do not do, in words, such as
    `makes no embeddings`. Raises ApiError: 404 none of that name, 400 with `code` it cannot, 429 no room."""
    from serving.runtime.forward_model import ForwardModel

    those = [each for each in runtime.models if can(each.bundle.signature)]
    served: LoadedModel = runtime.pick(name) if name is not None or not those else those[0]
    served = runtime.routed(request.scope, served, name)
    if not can(served.bundle.signature) or not isinstance(served, ForwardModel):
        others = f" {', '.join(each.name for each in those)} does." if those else ""
        raise invalid(f"{served.name} {lacks}.{others}", "model", code)
    if refusal := served.engine.refusal():
        raise refusal
    return served
