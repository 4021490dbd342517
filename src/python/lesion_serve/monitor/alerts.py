"""Rules over reports, with hysteresis: a rule fires once it was broken several times, until all is well again.

One reading is easily past a limit by chance, and one that wavers around it would send a message an hour. So a rule
fires once ``times`` of its last ``of`` readings broke ``fires_from``, and is resolved by as many in a row that keep
``resolves_at``. A reading that could not be taken counts for neither.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import attrs
import cattrs

from lesion_core.monitoring import MonitoringReport
from lesion_serve.monitor.errors import MonitorError
from lesion_serve.monitor.notify import Channels
from lesion_serve.store import AlertRecord, StoreError

FIRING, RESOLVED = "firing", "resolved"


def _drift(report: MonitoringReport) -> float | None:
    compared = [check for check in report.checks if check.threshold is not None]
    return float(sum(check.is_alarm for check in compared)) if compared else None


def _rejected(report: MonitoringReport) -> float | None:
    return report.quality.get("reject", 0) / report.predictions if report.predictions else None


READINGS: Mapping[str, Callable[[MonitoringReport], float | None]] = {
    "drift": _drift,  # checks that alarm
    "outside_rate": lambda report: report.outside.value if report.outside else None,
    "rejected_rate": _rejected,
    "accuracy": lambda report: report.feedback.accuracy.value if report.feedback.accuracy else None,
    "malignant_sensitivity": lambda report: (
        report.feedback.malignant_sensitivity.value if report.feedback.malignant_sensitivity else None
    ),
    "ece": lambda report: report.feedback.ece.value if report.feedback.ece else None,
}


@attrs.frozen(kw_only=True)
class Rule:
    """What alarms whom.

    Attributes:
        name: of the alert.
        reading: one of ``READINGS``.
        fires_from: broken by a reading that is at least so large; with ``is_lower``, at most so large.
        resolves_at: kept by a reading that is at most so large; with ``is_lower``, at least.
        is_lower: small readings are the bad ones.
        times: readings that have to break it, among the last ``of``; and to keep it, in a row.
        of: see ``times``.
        severity: ``warning`` or ``page``.
    """

    name: str
    reading: str
    fires_from: float
    resolves_at: float
    is_lower: bool = False
    times: int = attrs.field(default=2, validator=attrs.validators.ge(1))
    of: int = 3
    severity: str = attrs.field(default="warning", validator=attrs.validators.in_(("warning", "page")))

    def __attrs_post_init__(self) -> None:
        if self.reading not in READINGS:
            raise ValueError(f"reading of rule {self.name!r} is one of {', '.join(READINGS)}, got {self.reading!r}")
        if self.of < self.times:
            raise ValueError(f"rule {self.name!r} wants {self.times} of {self.of} readings")
        if self._worse(self.resolves_at) >= self._worse(self.fires_from):
            raise ValueError(f"rule {self.name!r} would be resolved by readings that it fires at")
        try:
            AlertRecord(name=self.name, state=FIRING, severity=self.severity, value=None, message="")
        except StoreError as error:
            raise ValueError(error.message) from error

    def next_state(self, state: str, readings: Sequence[float]) -> str:
        """Whether it fires now, from its state before and its last ``of`` readings, oldest first."""
        worse = [self._worse(reading) for reading in readings]
        if state == FIRING:
            last = worse[-self.times :]
            kept = len(last) == self.times and all(one <= self._worse(self.resolves_at) for one in last)
            return RESOLVED if kept else FIRING
        broken = sum(one >= self._worse(self.fires_from) for one in worse[-self.of :])
        return FIRING if broken >= self.times else RESOLVED

    def _worse(self, reading: float) -> float:
        return -reading if self.is_lower else reading


DEFAULT_RULES = (
    Rule(name="drift", reading="drift", fires_from=1, resolves_at=0),
    Rule(name="unlike_training", reading="outside_rate", fires_from=0.1, resolves_at=0.05),
    Rule(name="bad_photographs", reading="rejected_rate", fires_from=0.05, resolves_at=0.02),
    Rule(
        name="missed_malignant",
        reading="malignant_sensitivity",
        fires_from=0.85,
        resolves_at=0.9,
        is_lower=True,
        severity="page",
    ),
)


@attrs.frozen(kw_only=True)
class Alerting:
    """A file of rules and of where their alerts go. Without rules the default ones hold; without channels, nowhere."""

    rule: tuple[Rule, ...] = DEFAULT_RULES
    channels: Channels = attrs.field(factory=Channels)

    @classmethod
    def load(cls, path: Path) -> Alerting:
        """Read a TOML file.

        Raises:
            MonitorError: ``bad_rules``.
        """
        try:
            found = _converter.structure(tomllib.loads(path.read_text(encoding="utf-8")), cls)
        except (OSError, ValueError, RecursionError) as error:
            raise MonitorError(f"The rules {path} cannot be read: {error}.", code="bad_rules") from error
        except cattrs.BaseValidationError as error:
            reasons = "; ".join(cattrs.transform_error(error, format_exception=_reason))
            raise MonitorError(f"The rules {path} cannot be used: {reasons}.", code="bad_rules") from error
        names = [rule.name for rule in found.rule]
        if len(set(names)) < len(names):
            raise MonitorError(f"The rules {path} name two rules alike: {', '.join(names)}.", code="bad_rules")
        return found


_converter = cattrs.Converter(forbid_extra_keys=True)


def _reason(error: BaseException, kind: type | None) -> str:
    return str(error) if isinstance(error, ValueError) else cattrs.v.format_exception(error, kind)


def judge_rules(
    rules: Sequence[Rule],
    report: MonitoringReport,
    readings: Mapping[str, Sequence[float]],
    states: Mapping[str, str],
    *,
    at: datetime,
) -> tuple[dict[str, list[float]], list[AlertRecord]]:
    """What changes with one more report.

    Args:
        rules: that hold.
        report: the newest.
        readings: by rule, oldest first; without this report's.
        states: by rule, as they were.
        at: when the report was made.
    Returns:
        The readings with this report's, as many as the rules need, and the alerts to write down.
    """
    kept: dict[str, list[float]] = {}
    alerts = []
    for rule in rules:
        reading = READINGS[rule.reading](report)
        known = [*readings.get(rule.name, ()), *([] if reading is None else [reading])][-rule.of :]
        kept[rule.name] = known
        before = states.get(rule.name, RESOLVED)
        if reading is not None and (after := rule.next_state(before, known)) != before:
            alerts.append(
                AlertRecord(
                    name=rule.name,
                    state=after,
                    severity=rule.severity,
                    value=reading,
                    message=_message(rule, after, reading, report),
                    at=at,
                )
            )
    return kept, alerts


def end_removed_rules(
    rules: Sequence[Rule], known: Collection[str], last: Mapping[str, AlertRecord], *, at: datetime
) -> list[AlertRecord]:
    """Alerts that end since nobody looks for them any more.

    Args:
        rules: that hold.
        known: names of all rules that this watch has ever read; others on the same store may be another watch's.
        last: the last alert of each name.
        at: now.
    """
    gone = set(known) - {rule.name for rule in rules}
    return [
        attrs.evolve(
            last[name], state=RESOLVED, value=None, at=at, message=f"{name} is {RESOLVED}: the rule was removed."
        )
        for name in sorted(gone)
        if name in last and last[name].state == FIRING
    ]


def _message(rule: Rule, state: str, reading: float, report: MonitoringReport) -> str:
    limit = rule.fires_from if state == FIRING else rule.resolves_at
    names = [check.name for check in report.checks if check.is_alarm]
    alarms = f" Alarms: {', '.join(dict.fromkeys(names))}." if rule.reading == "drift" and names else ""
    return (
        f"{rule.name} is {state}: {rule.reading} is {reading:.3g}, of {limit:.3g}, in {report.predictions} predictions "
        f"of version {report.model_version} from {report.since} on.{alarms}"
    )
