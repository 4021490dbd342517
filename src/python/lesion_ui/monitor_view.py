"""The monitoring report in words: tables, and the text of each chart."""

from __future__ import annotations

from collections.abc import Sequence

from lesion_core.monitoring import Check, Day, MonitoringReport
from lesion_ui.history_view import Diagnoses, diagnosis_name
from lesion_ui.texts import Texts
from lesion_ui.wording import markdown_text, time_text

Row = dict[str, str]


def window_text(report: MonitoringReport, texts: Texts) -> str:
    """Which version and which days."""
    return texts(
        "monitor.window",
        version=report.model_version,
        since=time_text(report.since),
        until=time_text(report.until),
        count=texts.number(report.predictions),
    )


def alert_lines(report: MonitoringReport, texts: Texts, *, firing: bool) -> list[str]:
    """Alerts that fire, or that have ceased to."""
    return [
        texts(
            "monitor.alert",
            name=one.name,
            message=one.message,
            state=texts.find(f"monitor.state_{one.state}") or one.state,
            at=time_text(one.at),
        )
        for one in report.alerts
        if (one.state == "firing") == firing
    ]


def verdict(check: Check, texts: Texts) -> str:
    """An alarm, none, or too little to say: with a symbol, so that it is not by colour."""
    if check.value is None or check.threshold is None:
        return texts("monitor.unsaid")
    return texts("monitor.alarm" if check.is_alarm else "monitor.fine")


def check_lines(report: MonitoringReport, texts: Texts) -> list[tuple[str, str]]:
    """Every comparison as a sentence and its numbers, if it has any; Markdown, alarms first."""
    lines: list[tuple[str, str]] = []
    for row in check_rows(report, texts):
        head = f"**{row[texts('monitor.verdict')]} · {markdown_text(row[texts('monitor.check')])}** – "
        numbers = f"{row[texts('monitor.statistic')]} {row[texts('monitor.value')]} · " + " · ".join(
            f"{texts(key)} {row[texts(key)]}" for key in ("monitor.limit", "monitor.images")
        )
        has_numbers = row[texts("monitor.statistic")] != "none"
        lines.append(
            (head + markdown_text(row[texts("monitor.meaning")]), markdown_text(numbers) if has_numbers else "")
        )
    return lines


def check_rows(report: MonitoringReport, texts: Texts) -> list[Row]:
    """Every comparison with the reference, alarms first."""
    return [
        {
            texts("monitor.verdict"): verdict(one, texts),
            texts("monitor.check"): one.name.replace("_", " ").replace(".", ": "),
            texts("monitor.meaning"): one.sentence,
            texts("monitor.statistic"): one.statistic,
            texts("monitor.value"): "–" if one.value is None else texts.number(one.value, 3),
            texts("monitor.limit"): "–" if one.threshold is None else texts.number(one.threshold, 3),
            texts("monitor.images"): texts.number(one.images),
        }
        for one in sorted(report.checks, key=lambda one: not one.is_alarm)
    ]


def latency_rows(report: MonitoringReport, texts: Texts) -> list[Row]:
    """Milliseconds by stage."""
    return [
        {
            texts("monitor.stage"): one.stage,
            texts("monitor.half"): texts("monitor.milliseconds", value=texts.number(one.p50_ms)),
            texts("monitor.p95"): texts("monitor.milliseconds", value=texts.number(one.p95_ms)),
            texts("monitor.p99"): texts("monitor.milliseconds", value=texts.number(one.p99_ms)),
        }
        for one in report.latency
    ]


def day_rows(days: Sequence[Day], texts: Texts) -> list[Row]:
    """The numbers behind the chart of days."""
    return [
        {
            texts("monitor.date"): day.date,
            texts("monitor.predictions"): texts.number(day.predictions),
            texts("monitor.outside"): texts.number(day.outside),
            texts("monitor.rejected"): texts.number(day.rejected),
            texts("monitor.reviewed"): texts.number(day.reviewed),
        }
        for day in days
    ]


def volume_text(days: Sequence[Day], texts: Texts) -> str:
    """The chart of days for those who cannot see it."""
    counts = [day.predictions for day in days]
    return texts(
        "monitor.volume_text",
        first=days[0].date,
        last=days[-1].date,
        least=texts.number(min(counts)),
        most=texts.number(max(counts)),
        total=texts.number(sum(counts)),
    )


def counts_of(report: MonitoringReport, kind: str, known: Diagnoses, texts: Texts) -> tuple[list[str], list[int]]:
    """Names and counts of ``classes``, ``bands`` or ``quality``: classes with the most first."""
    if kind == "classes":
        ordered = sorted(report.classes.items(), key=lambda item: -item[1])
        return [diagnosis_name(code, known, texts) for code, _ in ordered], [count for _, count in ordered]
    found, prefix = (report.bands, "band.") if kind == "bands" else (report.quality, "history.quality_")
    return [texts.find(f"{prefix}{name}") or name for name in found], list(found.values())


def bars_text(title: str, names: Sequence[str], counts: Sequence[int], texts: Texts) -> str:
    """A chart of counts for those who cannot see it."""
    numbers = ", ".join(f"{name} {texts.number(count)}" for name, count in zip(names, counts, strict=True))
    return texts("monitor.bars_text", title=title, numbers=numbers)


def feedback_rows(report: MonitoringReport, known: Diagnoses, texts: Texts) -> list[Row]:
    """Each diagnosis that was said later, and how often it was answered so."""
    return [
        {
            texts("answer.column_diagnosis"): diagnosis_name(one.code, known, texts),
            texts("monitor.images"): texts.number(one.images),
            texts("monitor.sensitivity"): texts.interval(one.sensitivity, as_percent=True)
            if one.sensitivity
            else texts("monitor.too_few"),
        }
        for one in report.feedback.classes
    ]


def comparison_rows(report: MonitoringReport, texts: Texts) -> list[Row]:
    """Challengers beside the champion."""
    return [
        {
            texts("monitor.challenger"): one.challenger,
            texts("monitor.images"): texts.number(one.images),
            texts("monitor.agreement"): texts.interval(one.agreement),
            texts("monitor.reviewed"): texts.number(one.reviewed),
            texts("monitor.difference"): texts.interval(one.accuracy_difference),
            texts("monitor.risk_difference"): texts.interval(one.risk_difference),
        }
        for one in report.comparisons
    ]
