"""A monitoring report as one HTML file: nothing is fetched, nothing runs in it, and all text is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from lesion_core.interval import Interval
from lesion_core.monitoring import Check, Day, MonitoringReport
from lesion_core.wire import NOTICE

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --alarm: #c62828; --fine: #2e7d32; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; border-bottom: 1px solid var(--line); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
.alarm { color: var(--alarm); font-weight: 600; } .fine { color: var(--fine); }
.notice { border: 1px solid var(--line); padding: .5rem .8rem; border-radius: .4rem; }
code { word-break: break-all; }
svg { width: 100%; height: 6rem; } rect { fill: currentColor; opacity: .55; }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_MOST_SHOWN = 50


def render_page(report: MonitoringReport) -> str:
    """The whole page, UTF-8."""
    title = f"Monitoring of version {report.model_version}"
    sections = [
        ("Alarms", _alarms(report.checks)),
        ("Compared with the images that the model was made with", _checks(report.checks)),
        ("Answers", _answers(report)),
        ("By day", _days(report.days)),
        ("What was found out later", _feedback(report)),
        ("Challengers in the shadow", _comparisons(report)),
        ("Alerts", _alerts(report)),
        ("Milliseconds", _latency(report)),
    ]
    body = "".join(f"<section><h2>{escape(name)}</h2>{content}</section>\n" for name, content in sections)
    facts = (
        f"{report.predictions} predictions from {report.since} up to {report.until}, bundle {report.bundle_digest}. "
        f"Made {report.created_at}."
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        f'<p>{escape(facts)}</p>\n<p class="notice">{escape(NOTICE)}</p>\n{body}</body>\n</html>\n'
    )


def _alarms(checks: Sequence[Check]) -> str:
    alarms = [check for check in checks if check.is_alarm]
    if alarms:
        lines = "".join(f'<li class="alarm">{escape(one.name)}: {escape(one.sentence)}</li>' for one in alarms)
        return f"<ul>{lines}</ul>"
    if not any(check.threshold is not None for check in checks):
        return "<p>Nothing could be compared; see below.</p>"
    return '<p class="fine">None. That is no proof: a small change hides in few images.</p>'


def _checks(checks: Sequence[Check]) -> str:
    rows = [
        (
            check.name,
            check.statistic,
            _number(check.value),
            _number(check.threshold),
            _number(check.p_value),
            str(check.images),
            "alarm" if check.is_alarm else "",
            check.sentence,
        )
        for check in checks
    ]
    return _table(("what", "statistic", "value", "alarm from", "p", "images", "", "meaning"), rows)


def _answers(report: MonitoringReport) -> str:
    parts = [
        _table(("most probable", "answers", "share"), _shares(report.classes, report.predictions)),
        _table(("triage band", "answers", "share"), _shares(report.bands, report.predictions)),
        _table(("photograph", "answers", "share"), _shares(report.quality, report.predictions)),
        f"<p>Unlike the training images: {escape(_interval(report.outside))}</p>",
    ]
    return "".join(parts)


def _shares(counts: Mapping[str, int], total: int) -> list[tuple[str, str, str]]:
    return [(name, str(count), f"{count / total:.1%}") for name, count in counts.items()]


def _days(days: Sequence[Day]) -> str:
    if not days:
        return "<p>None.</p>"
    most, wide = max(day.predictions for day in days), 100 / len(days)
    bars = "".join(
        f'<rect x="{number * wide:.3f}" y="{100 - 100 * day.predictions / most:.3f}" width="{wide * 0.85:.3f}" '
        f'height="{100 * day.predictions / most:.3f}"><title>{escape(day.date)}: {day.predictions}</title></rect>'
        for number, day in enumerate(days)
    )
    rows = [(day.date, str(day.predictions), str(day.outside), str(day.rejected), str(day.reviewed)) for day in days]
    return (
        f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label="Predictions by day">{bars}</svg>'
        + _table(("day", "predictions", "unlike training images", "photograph rejected", "reviewed"), rows[::-1])
    )


def _feedback(report: MonitoringReport) -> str:
    found = report.feedback
    rows = [
        ("answered as diagnosed", _interval(found.accuracy)),
        ("malignant, and above the low band", _interval(found.malignant_sensitivity)),
        ("calibration error", _interval(found.ece)),
    ]
    classes = [(one.code, str(one.images), _interval(one.sensitivity)) for one in found.classes]
    listed = "".join(f"<li><code>{escape(one)}</code></li>" for one in found.disagreements[:_MOST_SHOWN])
    return (
        f"<p>{found.reviewed} answers have a diagnosis by now, {found.histology} of them by histology. A score needs "
        f"{found.minimum}. Reviewed answers are those that somebody chose to review.</p>"
        + _table(("score", "value"), rows)
        + _table(("diagnosis", "images", "answered so"), classes)
        + (f"<p>Judged otherwise, the most confident first:</p><ol>{listed}</ol>" if listed else "")
    )


def _comparisons(report: MonitoringReport) -> str:
    rows = [
        (
            one.challenger,
            str(one.images),
            _interval(one.agreement),
            _interval(one.risk_difference),
            str(one.reviewed),
            _interval(one.accuracy_difference),
        )
        for one in report.comparisons
    ]
    names = ("challenger", "images", "agreement", "risk, difference", "reviewed", "answered as diagnosed, difference")
    return _table(names, rows)


def _alerts(report: MonitoringReport) -> str:
    rows = [(one.at, one.name, one.state, one.severity, one.message) for one in report.alerts]
    return _table(("when", "rule", "state", "severity", "message"), rows)


def _latency(report: MonitoringReport) -> str:
    rows = [(one.stage, f"{one.p50_ms:.1f}", f"{one.p95_ms:.1f}", f"{one.p99_ms:.1f}") for one in report.latency]
    return _table(("stage", "half are within", "95 %", "99 %"), rows)


def _table(names: Iterable[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return "<p>None.</p>"
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    lines = "".join(
        "<tr>" + "".join(f"<td{_marked(cell)}>{escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{lines}</tbody></table>"


def _marked(cell: str) -> str:
    return ' class="alarm"' if cell in ("alarm", "firing") else ""


def _interval(interval: Interval | None) -> str:
    return "too few to say" if interval is None else str(interval)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
