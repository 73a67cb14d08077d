"""What `/metrics` tells Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from distill.records import Judgement
from distill.rerank.serve.engine_thread import EngineThread

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Meters:
    """The counters of one server, in a registry of their own."""

    def __init__(self, threads: Callable[[], Sequence[EngineThread]]) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "distill_requests", "Requests by path and status", ["path", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "distill_request_seconds",
            "Arrival to answer, of requests that were answered",
            ["path"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.pairs = Counter("distill_pairs", "Pairs judged, by how the text ended", ["finish"], registry=self.registry)
        self.tokens = Counter("distill_tokens", "Tokens that the student wrote", registry=self.registry)
        self.given_up = Counter(
            "distill_given_up", "Requests given up: client gone or deadline", ["why"], registry=self.registry
        )
        self.shadow = Counter(
            "distill_shadow_requests",
            "Requests for the shadow student: judged, dropped where its queue was full, or failed",
            ["outcome"],
            registry=self.registry,
        )
        Gauge("distill_waiting_pairs", "Pairs not judged yet", registry=self.registry).set_function(
            lambda: sum(thread.waiting for thread in threads())
        )
        Gauge("distill_running_rows", "Rows that are with the engine", registry=self.registry).set_function(
            lambda: sum(thread.running for thread in threads())
        )

    def judged(self, judgements: Sequence[Judgement]) -> None:
        """Count judgements."""
        for judgement in judgements:
            self.pairs.labels(judgement.finish_reason).inc()
        self.tokens.inc(sum(judgement.tokens for judgement in judgements))

    def text(self) -> bytes:
        """The page of `/metrics`."""
        return bytes(generate_latest(self.registry))
