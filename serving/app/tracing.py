"""OpenTelemetry traces, where METROLINE_TRACES asks for them: one span a request, by BentoML's own layer.

    pip install 'metroline[traces]'
    METROLINE_TRACES=http://127.0.0.1:4318/v1/traces metroline serve speeches

A span has the route, the status and the times; no text. A request's own `traceparent` header is its parent.
"""

from importlib.util import find_spec
from typing import Any

from base.errors import MetrolineError


def check(address: str) -> None:
    """Raise MetrolineError when traces are wanted and cannot be sent."""
    if address and not (find_spec("opentelemetry.exporter") and find_spec("opentelemetry.exporter.otlp.proto.http")):
        raise MetrolineError(
            "METROLINE_TRACES is set, but the exporter is missing", hint="pip install metroline[traces]"
        )


def apply(app: Any, address: str) -> None:
    """In a worker: send one span a request to `address`; without one, take BentoML's tracing out of the app.

    BentoML's own makes a span for each token of a stream, exported or not.
    """
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

    if not address:
        app.user_middleware = [each for each in app.user_middleware if each.cls is not OpenTelemetryMiddleware]
        return
    for each in app.user_middleware:
        if each.cls is OpenTelemetryMiddleware:
            each.kwargs |= {"tracer_provider": _provider(address), "exclude_spans": ["receive", "send"]}


def _provider(address: str) -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: "metroline"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=address)))
    return provider
