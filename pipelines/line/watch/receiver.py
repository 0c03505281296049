"""The receiver of Alertmanager's webhook: POST /alerts with a bearer key, and counters at /metrics.

| status | when | Alertmanager |
| --- | --- | --- |
| 200 | a run is started, or the alert is debounced or resolved: the answer says which | is content |
| 400 | no notification of version 4, an alert without a model | logs it, does not try again |
| 401 | no key, or another one | the same |
| 404 | a model that is not watched | the same |
| 413 | more than LARGEST bytes | the same |
| 429 | the budget is spent; Retry-After says until when | the same; asks anew after its repeat_interval |
| 503 | the Prefect server does not answer | tries again |

A notification about several models is 200 as soon as one of them could be dealt with.
"""

import hmac
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, Counter, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from base.errors import MetrolineError, printable
from pipelines.line.watch.alerts import read
from pipelines.line.watch.retraining import Answer, Retraining

LARGEST = 1 << 20
"""Bytes of a notification. Alertmanager's own are a few kB for each alert."""
STATUS = {"started": 200, "debounced": 200, "over_budget": 429, "unknown": 404}
REFUSED = {400: "malformed", 401: "unauthorized", 413: "too_large", 503: "prefect_down"}


def application(retraining: Retraining, key: str, tell: Callable[[str], None] = print) -> FastAPI:
    """The ASGI application. `key`: what `Authorization: Bearer` must bring; `tell` gets a line for each answer."""
    app = FastAPI(openapi_url=None)
    registry = CollectorRegistry()
    count = Counter("metroline_watch_alerts", "Alerts, by model and by what became of them.",
                    ["model", "outcome"], registry=registry)  # fmt: skip

    def refuse(status: int, why: str, headers: Mapping[str, str] | None = None) -> Response:
        count.labels("", REFUSED[status]).inc()
        tell(f"refused with {status}: {printable(why)}")
        return JSONResponse({"error": why}, status, headers)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4")

    @app.get("/livez")
    async def live() -> Response:
        return Response("ok\n", media_type="text/plain")

    @app.post("/alerts")
    async def alerts(request: Request) -> Response:
        if not _authorized(request, key):
            return refuse(401, "a key is needed: Authorization: Bearer KEY", {"WWW-Authenticate": "Bearer"})
        try:
            body = await _body(request)
        except ClientDisconnect:
            return Response(status_code=400)
        if body is None:
            return refuse(413, f"a notification has at most {LARGEST:,} bytes", {"Connection": "close"})
        try:
            wanted = read(body)
        except MetrolineError as error:
            return refuse(400, str(error))
        answers: dict[str, Answer] = {}
        for recipe, reason in wanted.items():
            try:
                answer = await run_in_threadpool(retraining.ask, recipe, reason)
            except MetrolineError as error:
                return refuse(503, str(error))
            answers[recipe] = answer
            count.labels(recipe if answer.outcome != "unknown" else "", answer.outcome).inc()
            tell(f"{printable(recipe)}: {reason} → {answer.outcome}: {printable(answer.said)}")
        return _answered(answers)

    return app


def _authorized(request: Request, key: str) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), key.encode())


async def _body(request: Request) -> bytes | None:
    """The body; None: it is too large, whatever its Content-Length says."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST:
            return None
    return bytes(body)


def _answered(answers: Mapping[str, Answer]) -> Response:
    """The best of the statuses: Alertmanager is to try again only where nothing could be done."""
    status = min((STATUS[answer.outcome] for answer in answers.values()), default=200)
    if status == 404 and any(answer.outcome == "over_budget" for answer in answers.values()):
        status = 429
    waits = [answer.retry_after for answer in answers.values() if answer.retry_after]
    headers = {"Retry-After": str(int(min(waits)) + 1)} if status == 429 and waits else None
    said: dict[str, Any] = {
        recipe: {"outcome": answer.outcome, "said": answer.said, **({"run": answer.run} if answer.run else {})}
        for recipe, answer in answers.items()
    }
    return JSONResponse({"models": said} if said else {"models": {}, "said": "no alert fires"}, status, headers)
