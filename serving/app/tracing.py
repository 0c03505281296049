"""OpenTelemetry traces, where METROLINE_TRACES asks for them: one span a request.

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


def traced(app: Any, address: str) -> Any:
    """An ASGI app that sends one span a request to `address`, none for the parts of a stream; without an address the
    app itself."""
    if not address:
        return app
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

    return OpenTelemetryMiddleware(app, tracer_provider=_provider(address), exclude_spans=["receive", "send"])


def _provider(address: str) -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: "metroline"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=address)))
    return provider
