"""OpenTelemetry: a span a request and one for its judging, where the packages are there and configured. For the routes.

The spans hold names and counts, no texts. Without `opentelemetry` nothing is traced.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from distill.records import Judgement
from distill.rerank.serve.answers import mode_of

if TYPE_CHECKING:
    from fastapi import FastAPI

try:
    from opentelemetry import trace
except ModuleNotFoundError:
    TRACES = False
else:
    TRACES = True

UNTRACED = "/health,/healthz,/metrics"


def instrument(app: FastAPI) -> None:
    """Trace the requests by opentelemetry-instrumentation-fastapi, where that is installed and a tracer is configured
    (`opentelemetry-instrument` does that before the program starts)."""
    if not TRACES or isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return
    try:
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    except ModuleNotFoundError:
        return
    FastAPIInstrumentor.instrument_app(app, excluded_urls=UNTRACED)


@contextmanager
def judging(model: str, documents: int, budget_ms: float | None) -> Iterator[Callable[[Sequence[Judgement]], None]]:
    """A span `judge`; what it yields takes note of how many documents were judged by which mode."""
    if not TRACES:
        yield lambda judgements: None
        return
    with trace.get_tracer("distill.serve").start_as_current_span("judge") as span:
        span.set_attributes({"distill.model": model, "distill.documents": documents})
        if budget_ms is not None:
            span.set_attribute("distill.budget_ms", budget_ms)

        def note(judgements: Sequence[Judgement]) -> None:
            if span.is_recording():
                span.set_attribute("distill.tokens", sum(judgement.tokens for judgement in judgements))
                for mode, count in Counter(map(mode_of, judgements)).items():
                    span.set_attribute(f"distill.judged.{mode}", count)

        yield note
