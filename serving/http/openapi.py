"""The service's own OpenAPI description: bodies that the routes read themselves, and the errors that all may give."""

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

REFERENCE = "#/components/schemas/{model}"
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def body(schema: type[BaseModel]) -> dict[str, Any]:
    """A route's `openapi_extra`: its body is this, below components."""
    reference = {"$ref": REFERENCE.format(model=schema.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": reference}}}}


def complete(app: FastAPI, bodies: Sequence[type[BaseModel]], more: Callable[[dict[str, Any]], bool]) -> None:
    """Make `app.openapi` describe these bodies and the error schema as well; `more` adds what the models bring, and
    says whether that is all.
    """

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, routes=app.routes)
            _, schemas = models_json_schema([(each, "validation") for each in bodies], ref_template=REFERENCE)
            components = made.setdefault("components", {}).setdefault("schemas", {})
            components |= schemas.get("$defs", {}) | {"Error": ERROR}
            for operations in made["paths"].values():
                for operation in operations.values():
                    answer = {"description": "An error", "content": {"application/json": {"schema": {
                        "$ref": REFERENCE.format(model="Error")}}}}  # fmt: skip
                    operation["responses"].pop("422", None)
                    operation["responses"] |= {"4XX": answer, "5XX": answer}
            if not more(made):
                return made
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]
