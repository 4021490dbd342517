"""The monitoring report: what a window of predictions looked like beside the images that the model was made with.

``lesion-serve monitor`` writes it, the gateway serves it, the app shows it. Times are ISO 8601 text in UTC; shares
are in [0, 1]; a number that could not be measured is ``None``.
"""

from __future__ import annotations

import attrs

from lesion_core.interval import Interval

SCHEMA_VERSION = 1


@attrs.frozen(kw_only=True)
class Check:
    """One comparison of the window with the reference.

    Attributes:
        name: what was compared: ``class_mix``, ``confidence``, ``strangeness``, ``outside_rate``, ``embedding``,
            ``quality.focus`` …; ``reference`` where nothing could be, for the reason that ``sentence`` gives.
        statistic: how: ``psi``, ``auc``, ``mmd``, ``ks``, ``difference``; ``none`` for ``reference``.
        value: of the statistic in the window.
        threshold: from where on it is an alarm; ``None`` where there was too little to say.
        p_value: of the permutation test; ``None`` for a statistic without one.
        images: of the window that it was taken on.
        is_alarm: whether it is one.
        sentence: what it means, for people.
    """

    name: str
    statistic: str
    value: float | None
    threshold: float | None
    p_value: float | None
    images: int
    is_alarm: bool
    sentence: str


@attrs.frozen(kw_only=True)
class Latency:
    """Milliseconds of the answers' stages."""

    stage: str
    p50_ms: float
    p95_ms: float
    p99_ms: float


@attrs.frozen(kw_only=True)
class Day:
    """One day in UTC: ``date`` as ``2026-01-31``."""

    date: str
    predictions: int
    outside: int
    rejected: int
    reviewed: int


@attrs.frozen(kw_only=True)
class ClassFeedback:
    """One diagnosis among reviewed answers: how many had it, and how many of these were answered so."""

    code: str
    images: int
    sensitivity: Interval | None


@attrs.frozen(kw_only=True)
class FeedbackScores:
    """How answers agree with what clinicians and histology said later.

    Attributes:
        reviewed: answers with a diagnosis by now; those of ``histology`` are by histology.
        accuracy: share of them that was answered so; ``None`` below ``minimum`` answers.
        malignant_sensitivity: of the malignant among them, the share above the low triage band.
        ece: calibration error of the most probable class on them.
        classes: by diagnosis.
        minimum: answers that a score needs.
        disagreements: ids of answers that were judged otherwise, the most confident first.
    """

    reviewed: int
    histology: int
    accuracy: Interval | None
    malignant_sensitivity: Interval | None
    ece: Interval | None
    classes: tuple[ClassFeedback, ...]
    minimum: int
    disagreements: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Comparison:
    """Champion and challenger on the same images, in the shadow. Differences are challenger less champion.

    Attributes:
        challenger: its version.
        images: answered by both.
        agreement: share of them with the same most probable class.
        reviewed: of them with a diagnosis.
        accuracy_difference: on the reviewed ones, paired.
        risk_difference: mean difference of the malignancy risk.
    """

    challenger: str
    images: int
    agreement: Interval | None
    reviewed: int
    accuracy_difference: Interval | None
    risk_difference: Interval | None


@attrs.frozen(kw_only=True)
class Alert:
    """A rule that fires or has ceased to. ``state``: ``firing``, ``resolved``; ``severity``: ``warning``, ``page``."""

    name: str
    state: str
    severity: str
    at: str
    value: float | None
    message: str


@attrs.frozen(kw_only=True)
class MonitoringReport:
    """A window of predictions of one version.

    Attributes:
        created_at: of the report.
        since, until: the window; from ``since`` on, up to but without ``until``.
        model_version, bundle_digest: what answered.
        predictions: answers in the window.
        classes: answers by most probable class.
        bands: answers by triage band.
        quality: answers by grade of the photograph.
        outside: share of images called unlike the training images.
        latency: by stage.
        days: volume by day, oldest first.
        checks: against the reference.
        feedback: with delayed labels.
        comparisons: with challengers in the shadow.
        alerts: newest first.
    """

    created_at: str
    since: str
    until: str
    model_version: str
    bundle_digest: str
    predictions: int
    classes: dict[str, int]
    bands: dict[str, int]
    quality: dict[str, int]
    outside: Interval | None
    latency: tuple[Latency, ...]
    days: tuple[Day, ...]
    checks: tuple[Check, ...]
    feedback: FeedbackScores
    comparisons: tuple[Comparison, ...] = ()
    alerts: tuple[Alert, ...] = ()
    schema_version: int = SCHEMA_VERSION
