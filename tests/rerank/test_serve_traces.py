"""OpenTelemetry: spans of the requests and of their judging, in the trace of the client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("fastapi", reason='the server needs the extra "serve"')
pytest.importorskip("opentelemetry.sdk.trace", reason="needs opentelemetry-sdk, which the extra dev brings")
pytest.importorskip("opentelemetry.instrumentation.fastapi", reason="needs a package that the extra dev brings")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.rerank.serving import Scripted, get, post, serving

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """A configured tracer, for this test alone."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


def test_a_request_is_a_span_of_its_clients_trace_and_its_judging_one_below(exporter: InMemorySpanExporter) -> None:
    private = "the sea at night"
    with serving(Scripted()) as server:
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-Id": "abc"}
        body = {"query": "what is a fox", "documents": [private, "a fox"], "budget_ms": 5000}
        status, _, back = post(server.url + "/v1/rerank", body, headers)
        assert status == 200 and back["X-Request-Id"] == "abc"
        assert get(server.url + "/healthz")[0] == 200 and get(server.url + "/metrics")[0] == 200
    spans = {span.name: span for span in exporter.get_finished_spans()}
    request, judge = spans["POST /v1/rerank"], spans["judge"]
    assert {f"{span.context.trace_id:032x}" for span in (request, judge)} == {TRACE}
    assert request.parent is not None and f"{request.parent.span_id:016x}" == PARENT
    assert dict(judge.attributes or {}) == {
        "distill.model": "my-student",
        "distill.documents": 2,
        "distill.budget_ms": 5000,
        "distill.tokens": 14,
        "distill.judged.think": 2,
    }
    assert not any("health" in name or "metrics" in name for name in spans)
    assert private not in str([dict(span.attributes or {}) for span in spans.values()])


def test_without_a_tracer_nothing_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", None)
    with serving(Scripted()) as server:
        assert post(server.url + "/v1/rerank", {"query": "q", "documents": ["d"]})[0] == 200
