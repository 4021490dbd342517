"""A ``MonitoringReport`` out of the prediction store: one version, one window."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import attrs
import numpy as np

from lesion_core.bundle import BundleManifest
from lesion_core.drift_reference import DriftSample
from lesion_core.errors import LesionError
from lesion_core.interval import proportion_interval
from lesion_core.monitoring import Alert, Check, Comparison, Day, Latency, MonitoringReport
from lesion_serve.monitor.agreement import compare_with_shadow, feedback_scores
from lesion_serve.monitor.drift import LEVEL, MOST_IMAGES, compare
from lesion_serve.monitor.reading import Seen, independent, read_sample, read_seen
from lesion_serve.store import Database, PredictionStore, Role, Window

MOST_ALERTS = 50
_NOT_COMPARED = "reference"


class MonitorError(LesionError):
    """What monitoring cannot do.

    Codes: ``no_predictions``, ``no_reference``, ``bad_rules``, ``out_exists``, ``no_cases``.
    """

    code = "no_predictions"


@attrs.frozen(kw_only=True)
class Wanted:
    """Which report is wanted.

    Attributes:
        since, until: the window, in UTC; ``None`` for no limit.
        last: only so many predictions, the newest; ``None`` for all.
        version: that answered; the one of the newest prediction where it is ``None``.
        level: rate of reports with a false alarm.
    """

    since: datetime | None = None
    until: datetime | None = None
    last: int | None = None
    version: str | None = None
    level: float = LEVEL


@attrs.frozen(kw_only=True, eq=False)
class Baseline:
    """What a window is compared with: a sample, and the classes and the digest of the bundle that described it."""

    sample: DriftSample
    codes: tuple[str, ...]
    bundle_digest: str

    @classmethod
    def of(cls, sample: DriftSample, manifest: BundleManifest, digest: str) -> Baseline:
        """Of a bundle."""
        return cls(sample=sample, codes=manifest.taxonomy.codes, bundle_digest=digest)


def make_report(
    store: PredictionStore, wanted: Wanted, baseline: Baseline | None, *, now: datetime | None = None
) -> MonitoringReport:
    """Read the window and measure.

    Args:
        store: the prediction store.
        wanted: which report.
        baseline: what the window is compared with; ``None`` where the bundle holds none, which the report says.
        now: when it is made.
    Raises:
        MonitorError: ``no_predictions``: there are none in the window.
    """
    now = now or datetime.now(UTC)
    database = store.database
    version = wanted.version or _newest_version(database, wanted)
    seen = _read(database, wanted, version, Role.ANSWERED)
    if not seen:
        raise MonitorError(
            f"There are no predictions of version {version} in this window. Choose another one with --since, --until, "
            "--last or --version."
        )
    return MonitoringReport(
        created_at=now.isoformat(),
        since=wanted.since.isoformat() if wanted.since and wanted.last is None else seen[0].at,
        until=(wanted.until or now).isoformat(),
        model_version=version,
        bundle_digest=seen[-1].bundle_digest,
        predictions=len(seen),
        classes=_counts(one.top for one in seen),
        bands=_counts(one.band for one in seen if one.band is not None),
        quality=_counts(one.quality for one in seen),
        outside=proportion_interval(sum(one.is_outside for one in seen), len(seen)),
        latency=_latency(seen),
        days=_days(seen),
        checks=_checks(database, seen, baseline, wanted.level),
        feedback=feedback_scores(seen),
        comparisons=_comparisons(database, wanted, version, seen),
        alerts=alerts_of(store),
    )


def _newest_version(database: Database, wanted: Wanted) -> str:
    newest = read_seen(database, Window(since=wanted.since, until=wanted.until, role=Role.ANSWERED), last=1)
    if not newest:
        raise MonitorError("There are no predictions in this window. Choose another one with --since or --until.")
    return newest[0].version


def _read(database: Database, wanted: Wanted, version: str | None, role: Role) -> list[Seen]:
    window = Window(since=wanted.since, until=wanted.until, model_version=version, role=role)
    return read_seen(database, window, last=wanted.last)


def _counts(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(names).most_common())


def _latency(seen: Sequence[Seen]) -> tuple[Latency, ...]:
    stages: dict[str, list[float]] = defaultdict(list)
    for one in seen:
        for stage, took_ms in one.timings_ms.items():
            stages[stage].append(took_ms)
    found = []
    for stage, times in stages.items():
        p50, p95, p99 = np.quantile(times, [0.5, 0.95, 0.99])
        found.append(Latency(stage=stage, p50_ms=float(p50), p95_ms=float(p95), p99_ms=float(p99)))
    return tuple(found)


def _days(seen: Sequence[Seen]) -> tuple[Day, ...]:
    days: dict[str, list[Seen]] = defaultdict(list)
    for one in seen:
        days[one.at[:10]].append(one)
    return tuple(
        Day(
            date=date,
            predictions=len(those),
            outside=sum(one.is_outside for one in those),
            rejected=sum(one.quality == "reject" for one in those),
            reviewed=sum(one.review is not None for one in those),
        )
        for date, those in sorted(days.items())
    )


def _checks(database: Database, seen: Sequence[Seen], baseline: Baseline | None, level: float) -> tuple[Check, ...]:
    if baseline is None:
        return (_not_compared("The bundle holds no sample to compare with: train or bundle it with this release."),)
    described = [one for one in seen if one.bundle_digest == baseline.bundle_digest]
    chosen = independent(database, described)
    # All of a hundred thousand features need not be read for the thousand that are compared.
    drawn = np.sort(np.random.default_rng(0).permutation(len(chosen))[: 2 * MOST_IMAGES])
    sample = read_sample(database, [chosen[row] for row in drawn.tolist()])
    if sample is None:
        why = "they are of another bundle" if not described else "the server that gave them kept none"
        return (_not_compared(f"None of the predictions has what could be compared: {why}."),)
    return compare(
        baseline.sample,
        sample,
        codes=baseline.codes,
        outside_threshold=described[-1].outside_threshold,
        level=level,
    )


def _not_compared(sentence: str) -> Check:
    return Check(
        name=_NOT_COMPARED,
        statistic="none",
        value=None,
        threshold=None,
        p_value=None,
        images=0,
        is_alarm=False,
        sentence=sentence,
    )


def _comparisons(database: Database, wanted: Wanted, version: str, seen: Sequence[Seen]) -> tuple[Comparison, ...]:
    # A challenger is asked after the answer has left, so its records are a little younger.
    window = Window(since=datetime.fromisoformat(seen[0].at), role=Role.SHADOW)
    challengers: Mapping[str, list[Seen]] = defaultdict(list)
    for one in read_seen(database, window):
        if one.version != version:
            challengers[one.version].append(one)
    found = (compare_with_shadow(seen, those) for _, those in sorted(challengers.items()))
    return tuple(one for one in found if one is not None)


def alerts_of(store: PredictionStore) -> tuple[Alert, ...]:
    """The newest alerts of the store, newest first."""
    newest = list(store.alerts())[-MOST_ALERTS:][::-1]
    return tuple(
        Alert(
            name=one.name,
            state=one.state,
            severity=one.severity,
            at=one.at.isoformat(),
            value=one.value,
            message=one.message,
        )
        for one in newest
    )
