"""The outermost layer of a worker: request ids, one log line and one count per request, 503 while going down, keys.

What stands between it and the routes (`serving/app/tracing.py`) names a request by its path, which a client chooses; so
that sees a template (`/v1/models/{model}`, `/unknown`), and `restore_path` gives the routes the real path back.
"""

import json
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from serving.app.route_table import PROBES, Route, find
from serving.http.access import Headers
from serving.http.errors import ApiError, unavailable
from serving.http.slow_clients import Message, Patience, Send
from serving.http.stream import ClientGoneError
from serving.runtime.runtime import Runtime

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

ABSOLUTE = re.compile(r"https?://[^/]*", re.IGNORECASE)
"""How a path begins where a client takes the endpoint for a proxy: `GET http://host/v1/models`."""
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
GONE = 499
"""Status counted when a client went away before its answer began (as nginx counts it)."""

log = logging.getLogger("metroline.request")


async def send_error(error: ApiError, path: str, send: Send) -> None:
    """Answer with an error in the schema of the path."""
    body = json.dumps(error.body(path)).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **error.headers}
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


class Guard:
    """ASGI app around BentoML's and ours."""

    def __init__(self, bentoml: App, routes: App, runtime: Runtime, send_seconds: float) -> None:
        """`bentoml` answers the probes, `routes` all else. `send_seconds`: after which a client that does not read its
        answer is cut off."""
        self._bentoml, self._routes, self._runtime, self._patience = bentoml, routes, runtime, Patience(send_seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; the lifespan and BentoML's probes go through as they are."""
        if scope["type"] == "http" and (host := ABSOLUTE.match(scope["path"])):
            scope = {**scope, "path": scope["path"][host.end() :] or "/"}
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] != "http" or scope["path"] in PROBES:
            await self._bentoml(scope, receive, send)
        else:
            with self._runtime.in_flight(), suppress(ClientGoneError):
                await self._patience.run(lambda watched: self._handle(scope, receive, watched), send)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, status, complete = time.monotonic(), GONE, False
        found = find(scope["path"])
        route = found.template
        headers, more = dict(scope["headers"]), self._runtime.access.cors(dict(scope["headers"]))
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        request_id = given if REQUEST_ID.fullmatch(given) else f"req-{uuid.uuid4().hex}"
        fields: dict[str, Any] = {"request_id": request_id, "method": scope["method"][:20], "route": route}
        # HEAD is GET to the routes: the HTTP server sends no body then, but what the headers say of it is right.
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        scope = {**scope, "method": method, "path": route, "metroline": {"path": scope["path"], "fields": fields}}

        async def counted(message: Message) -> None:
            nonlocal status, complete
            if message["type"] == "http.response.start":
                status = message["status"]
                sent = [*message["headers"], (b"x-request-id", request_id.encode()), *more]
                if version := fields.get("version"):  # there is a candidate: which one has answered?
                    sent.append((b"x-model-version", version.encode()))
                if self._runtime.leaving:
                    sent = [(name, value) for name, value in sent if name != b"connection"]
                    sent.append((b"connection", b"close"))
                message = {**message, "headers": sent}
            await send(message)
            complete = message["type"] == "http.response.body" and not message.get("more_body")

        try:
            if (granted := self._runtime.access.preflight(scope["method"], headers)) is not None:
                more = granted
                await counted({"type": "http.response.start", "status": 204, "headers": []})
                await counted({"type": "http.response.body", "body": b""})
                return
            more += self._admit(scope, found, headers, fields)
            await self._routes(scope, receive, counted)
        except ApiError as error:
            fields["reason"], fields["code"] = error.reason, error.code
            await send_error(error, scope["path"], counted)
        finally:
            seconds = time.monotonic() - started
            if caller := scope["metroline"].get("caller"):
                # A request that the engine did not take has no completion_tokens, and has used none.
                out = fields.get("completion_tokens")
                caller.settle(0 if out is None else fields["prompt_tokens"] + out)
            if models := self._runtime.models:
                # What is for no model in particular counts for the first, as does a request that names none.
                served = scope["metroline"].get("served", models[0])
                metrics = served.metrics
                metrics.request(route, status)
                if found.answers:
                    self._runtime.answered(served, status)
                if found.answers and status == 200 and complete:
                    metrics.completion(seconds)
                if reason := fields.get("reason"):
                    metrics.rejected(reason)
            if not complete:
                fields["client_gone"] = True
            log.info("request", extra={"fields": {**fields, "status": status, "seconds": round(seconds, 4)}})

    def _admit(self, scope: Scope, route: Route, headers: dict[bytes, bytes], fields: dict[str, Any]) -> Headers:
        """Let a request in. Returns headers for its answer. Raises ApiError: 503 while draining, 401, 429."""
        if self._runtime.draining:
            raise unavailable("draining")
        if not route.keyed:
            return []
        caller = scope["metroline"]["caller"] = self._runtime.access.caller(headers)
        fields["caller"] = caller.name
        if route.answers and scope["method"] == "POST":
            self._runtime.check_room()
        return caller.request() if scope["method"] == "POST" else []


def restore_path(app: App) -> App:
    """Wrap the routes: they get the path that the client asked for."""

    async def restored(scope: Scope, receive: Receive, send: Send) -> None:
        if "metroline" in scope:
            scope = {**scope, "path": scope["metroline"]["path"], "root_path": ""}
        await app(scope, receive, send)

    return restored
