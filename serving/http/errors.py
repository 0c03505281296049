"""Errors as OpenAI's clients expect them: an HTTP status and `{"error": {message, type, param, code}}`.

Only what a client is meant to see. What the person who starts the server is meant to see is `base.errors`.
Schema: https://platform.openai.com/docs/guides/error-codes
"""

from typing import Any

from base.errors import printable


class ApiError(Exception):
    """A request that gets an error as its answer.

    `reason` is a short fixed word for the metric `metroline_rejected_total`; None: not counted there.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        reason: str | None = "invalid",
        headers: dict[str, str] | None = None,
    ) -> None:
        message = printable(message)  # a client may have sent line breaks, and half characters
        super().__init__(message)
        self.status, self.message, self.kind = status, message, kind
        self.param, self.code, self.reason = param and printable(param), code, reason
        self.headers = headers or {}

    def body(self, path: str = "") -> dict[str, Any]:
        """The JSON body of the answer. `path`: what was asked; below /v2 an error is a text alone (Open Inference
        Protocol).
        """
        if path == "/v2" or path.startswith("/v2/"):
            return {"error": self.message}
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


def invalid(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """400: the request itself is wrong."""
    return ApiError(400, message, param=param, code=code)


def too_long(tokens: str, context: int, param: str = "prompt") -> ApiError:
    """400: the prompt has more tokens than the model can look at; `tokens`: how many, in words."""
    message = f"This model's maximum context length is {context} tokens, but the prompt has {tokens}. Shorten it."
    return invalid(message, param, "context_length_exceeded")


def unknown_model(model: str, served: list[str]) -> ApiError:
    """404: another model is asked for than those that are served."""
    message = f"The model {model[:100]!r} does not exist here. This server has {', '.join(map(repr, served))}."
    return ApiError(404, message, param="model", code="model_not_found")


def wrong_engine(model: str, path: str, engine: str) -> ApiError:
    """400: the model is there, but answers where its engine does."""
    texts, queries = "/v1/completions, or a chat to /v1/chat/completions", "/v1/search"
    instead = {"decode": texts, "retrieve": queries}.get(engine, f"/v1/models/{model}/predict")
    message = f"{model} does not answer at {path[:200]}. Send its input to POST {instead}."
    return invalid(message, "model", "wrong_route_for_model")


def unknown_route(method: str, path: str) -> ApiError:
    """404: no such address."""
    return ApiError(404, f"Unknown address: {method} {path[:200]}", code="unknown_url")


def wrong_method(method: str, path: str, allowed: str) -> ApiError:
    """405: the address exists, but not for this method."""
    message = f"{path[:200]} does not take {method[:20]}, only {allowed}"
    return ApiError(405, message, code="method_not_allowed", headers={"Allow": allowed})


def too_large(limit: int) -> ApiError:
    """413: the body is over the limit."""
    message = f"The request body is over the limit of {limit} bytes."
    return ApiError(413, message, code="request_too_large", reason="too_large", headers={"Connection": "close"})


def queue_full(waiting: int, retry_after: int, what: str = "completions") -> ApiError:
    """429: as many of them wait as may."""
    message = f"{waiting} {what} are waiting already. Try again in {retry_after} s."
    return ApiError(429, message, kind="rate_limit_error", code="queue_full", reason="queue_full",
                    headers={"Retry-After": str(retry_after)})  # fmt: skip


def unauthorized(*, given: bool) -> ApiError:
    """401: no API key, or one that is not known here."""
    why = "This API key is not known here." if given else "Send an API key, as in Authorization: Bearer KEY."
    return ApiError(401, why, code="invalid_api_key", reason="unauthorized", headers={"WWW-Authenticate": "Bearer"})


def rate_limited(what: str, per_minute: int, retry_after: int) -> ApiError:
    """429: a caller's limit. `what`: requests or tokens."""
    message = f"The limit of {per_minute} {what} a minute is reached. Try again in {retry_after} s."
    return ApiError(429, message, kind="rate_limit_error", code="rate_limit_exceeded", reason="rate_limit",
                    headers={"Retry-After": str(retry_after)})  # fmt: skip


def unavailable(reason: str) -> ApiError:
    """503: the model is still being loaded, or the server is going down. `reason`: loading | draining | failed."""
    why = {
        "loading": "The model is still being loaded.",
        "draining": "The server is shutting down.",
        "failed": "The model could not be loaded; the server's log says why.",
    }[reason]
    headers = {"Retry-After": "2"} | ({"Connection": "close"} if reason == "draining" else {})
    return ApiError(503, why, kind="server_error", code=f"server_{reason}", reason=reason, headers=headers)


def deadline_passed(seconds: float) -> ApiError:
    """504: not done in time."""
    message = f"The request was not done within {seconds:g} s and was stopped."
    return ApiError(504, message, kind="timeout", code="deadline_exceeded", reason="deadline")


def internal(request_id: str) -> ApiError:
    """500: a bug of ours. The details are in the log under the request's id, not in the answer."""
    message = f"The server failed on this request. Its log has the details under {request_id}."
    return ApiError(500, message, kind="server_error", code="internal_error", reason=None)
