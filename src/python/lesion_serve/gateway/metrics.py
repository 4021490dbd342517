"""What the gateway counts, for Prometheus. Names follow its conventions: base units, ``_total`` for counters."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

# Of an answer: from a cached refusal to the deadline.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_RECORD_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0)


class Metrics:
    """One set, in a registry of its own: several gateways in one process do not mix."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        self.requests = Counter(
            "lesion_requests", "Requests by route and status.", ["route", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "lesion_request_seconds",
            "From the first byte in to the last out.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.engine_seconds = Histogram(
            "lesion_engine_seconds", "What the engine took.", ["version"], buckets=_SECONDS, registry=registry
        )
        self.record_seconds = Histogram(
            "lesion_record_seconds", "Until a record was durable.", buckets=_RECORD_SECONDS, registry=registry
        )
        self.predictions = Counter(
            "lesion_predictions", "Answers by version and most probable class.", ["version", "top"], registry=registry
        )
        self.refused = Counter("lesion_refused", "Requests without an answer, by code.", ["code"], registry=registry)
        self.unrecorded = Counter(
            "lesion_unrecorded", "Answers that were withheld, since they could not be recorded.", registry=registry
        )
        self.retries = Counter("lesion_retries", "Questions asked again after a worker died.", registry=registry)
        self.fallbacks = Counter(
            "lesion_fallbacks", "Questions that the champion answered for a version that could not.", registry=registry
        )
        self.shadows = Counter("lesion_shadows", "Challengers asked in the shadow.", ["outcome"], registry=registry)
        self.in_progress = Gauge("lesion_in_progress", "Images that are answered or wait.", registry=registry)
        self.ready_workers = Gauge("lesion_ready_workers", "Workers ready, by version.", ["version"], registry=registry)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)
