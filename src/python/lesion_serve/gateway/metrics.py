"""What the gateway counts, for Prometheus. Names follow its conventions: base units, ``_total`` for counters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from lesion_core.wire import Prediction

# Of an answer: from a cached refusal to the deadline.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# Of one step on the way to it.
_STEP_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


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
            "lesion_record_seconds", "Until a record was durable.", buckets=_STEP_SECONDS, registry=registry
        )
        self.stage_seconds = Histogram(
            "lesion_stage_seconds",
            "What a worker took for one stage of an answer, as it says itself.",
            ["version", "stage"],
            buckets=_STEP_SECONDS,
            registry=registry,
        )
        self.predictions = Counter(
            "lesion_predictions", "Answers by version and most probable class.", ["version", "top"], registry=registry
        )
        self.risk_bands = Counter(
            "lesion_risk_bands", "Answers by version and triage band.", ["version", "band"], registry=registry
        )
        self.outside = Counter(
            "lesion_outside", "Answers for images unlike those of the training.", ["version"], registry=registry
        )
        self.undecided = Counter(
            "lesion_undecided",
            "Answers that do not settle on one diagnosis: none or several cannot be ruled out.",
            ["version"],
            registry=registry,
        )
        self.quality = Counter(
            "lesion_quality", "Answers by version and grade of the photograph.", ["version", "grade"], registry=registry
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
        self.expected_wait = Gauge(
            "lesion_expected_wait_seconds", "Until an image that came now would be started.", registry=registry
        )
        self.anchor_failed = Gauge(
            "lesion_anchor_failed", "1 while the head of the record cannot be noted in its anchors.", registry=registry
        )
        self.ready_workers = Gauge("lesion_ready_workers", "Workers ready, by version.", ["version"], registry=registry)

    def count(self, prediction: Prediction) -> None:
        """One answer that a client gets."""
        version = prediction.model.version
        self.predictions.labels(version=version, top=prediction.top.code).inc()
        self.quality.labels(version=version, grade=prediction.quality_grade).inc()
        if prediction.risk is not None:
            self.risk_bands.labels(version=version, band=prediction.risk.band).inc()
        # Also where they do not count, or a rate of zero could not be told from a version that never answered.
        self.outside.labels(version=version).inc(prediction.out_of_distribution.is_outside)
        self.undecided.labels(version=version).inc(len(prediction.conformal_set.codes) != 1)
        for stage, taken_ms in prediction.timings_ms.items():
            self.stage_seconds.labels(version=version, stage=stage).observe(taken_ms / 1000)

    def watch_restarts(self, restarts: Callable[[], Mapping[str, int]]) -> None:
        """Export what an engine counts itself; see ``Engine.restarts``. Once for a set."""
        self._registry.register(_Restarts(restarts))

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)


class _Restarts(Collector):
    """Counts that are kept elsewhere."""

    def __init__(self, restarts: Callable[[], Mapping[str, int]]) -> None:
        self._restarts = restarts

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(
            "lesion_restarts", "Processes of the engine that were started again, by what they are.", labels=["part"]
        )
        for part, count in self._restarts().items():
            family.add_metric([part], count)
        yield family
