"""Traces reach a collector, one span a request, with the caller's trace as parent and no text in them."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_service

from base.errors import MetrolineError
from serving.app import tracing


@pytest.fixture
def collector():
    """An OTLP receiver: its address, and the spans that came."""
    spans: list = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            for resource in trace_service.ExportTraceServiceRequest.FromString(raw).resource_spans:
                spans.extend(span for scope in resource.scope_spans for span in scope.spans)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1/traces", spans
    server.shutdown()
    server.server_close()


def test_one_span_a_request(bundle, serve, collector):
    address, spans = collector
    server = serve(bundle, traces=address)
    parent = "0af7651916cd43dd8448eb211c80319c"
    body = {"prompt": "heretofore", "max_tokens": 9, "ignore_eos": True, "stream": True}
    answer = httpx.post(f"{server.url}/v1/completions", json=body, trust_env=False,
                        headers={"traceparent": f"00-{parent}-b7ad6b7169203331-01"})  # fmt: skip
    assert answer.status_code == 200
    deadline = time.monotonic() + 20
    while not (ours := [span for span in spans if span.trace_id.hex() == parent]) and time.monotonic() < deadline:
        time.sleep(0.1)
    (span,) = ours
    assert span.parent_span_id.hex() == "b7ad6b7169203331"
    assert "/v1/completions" in str(span)
    assert "heretofore" not in str(span)
    assert span.end_time_unix_nano > span.start_time_unix_nano


def test_a_missing_exporter_is_said(monkeypatch):
    monkeypatch.setattr(tracing, "find_spec", lambda name: None)
    tracing.check("")
    with pytest.raises(MetrolineError, match=r"pip install metroline\[traces\]"):
        tracing.check("http://127.0.0.1:4318/v1/traces")
