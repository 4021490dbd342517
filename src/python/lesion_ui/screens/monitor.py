"""Monitor: alerts, volume, class mix, strangeness, latency, drift, and what was said of answers later."""

from __future__ import annotations

import streamlit as st

from lesion_core.monitoring import MonitoringReport
from lesion_ui import monitor_view as words
from lesion_ui import session, shell
from lesion_ui.charts import CONFIG
from lesion_ui.history_view import Diagnoses, served_diagnoses
from lesion_ui.report_charts import count_chart, volume_chart
from lesion_ui.shell import visit
from lesion_ui.show import show_table
from lesion_ui.texts import Texts
from lesion_ui.wording import markdown_text

DAYS = (7, 30, 90)


def page() -> None:
    """Lay out the page."""
    here = visit()
    texts = here.texts
    with shell.told(texts):
        st.title(texts("monitor.title"), anchor=False)
        days = st.segmented_control(texts("monitor.days"), DAYS, default=30, required=True, key="days")
        report = here.client.monitoring(days)
        if report is None:
            st.info(texts("monitor.empty"))
            return
        st.caption(markdown_text(words.window_text(report, texts)))
        _show_alerts(report, texts)
        _show_figures(report, texts)
        _show_volume(report, texts)
        known = served_diagnoses(here.client)
        _show_counts(report, known, texts)
        _show_checks(report, texts)
        _show_feedback(report, known, texts)


def _show_alerts(report: MonitoringReport, texts: Texts) -> None:
    with st.container(key="alerts"):
        firing = words.alert_lines(report, texts, firing=True)
        for line in firing:
            st.error(markdown_text(line), icon=":material/notifications_active:")
        if not firing:
            st.success(texts("monitor.no_alert"), icon=":material/check:")
        for line in words.alert_lines(report, texts, firing=False):
            st.caption(markdown_text(line))


def _show_figures(report: MonitoringReport, texts: Texts) -> None:
    """The numbers that one looks at every morning."""
    scores = report.feedback
    figures = (
        ("monitor.predictions", texts.number(report.predictions)),
        ("monitor.outside", texts.interval(report.outside, as_percent=True)),
        (
            "monitor.accuracy",
            texts.interval(scores.accuracy, as_percent=True) if scores.accuracy else texts("monitor.too_few"),
        ),
        ("monitor.reviewed", texts.number(scores.reviewed)),
    )
    with st.container(key="figures"):
        for column, (title, value) in zip(st.columns(4, gap="small"), figures, strict=True):
            with column, st.container(border=True, height="stretch", gap="xxsmall"):
                st.caption(texts(title))
                first, _, rest = value.partition(" (")
                st.markdown(f"#### {first}")
                if rest:
                    st.caption(f"({rest}")


def _show_volume(report: MonitoringReport, texts: Texts) -> None:
    if not report.days:
        return
    with st.container(key="chart-volume"):
        st.markdown(f"##### {texts('monitor.volume')}")
        st.plotly_chart(volume_chart(report.days), config=CONFIG, alt=words.volume_text(report.days, texts))
    _table(words.day_rows(report.days, texts), texts)


def _show_counts(report: MonitoringReport, known: Diagnoses, texts: Texts) -> None:
    left, right = st.columns([3, 2], gap="medium")
    for place, kinds in ((left, ("classes",)), (right, ("bands", "quality"))):
        with place:
            for kind in kinds:
                _show_count(report, kind, known, texts)
    if report.latency:
        st.markdown(f"##### {texts('monitor.latency')}")
        show_table(words.latency_rows(report, texts))


def _show_count(report: MonitoringReport, kind: str, known: Diagnoses, texts: Texts) -> None:
    names, counts = words.counts_of(report, kind, known, texts)
    if not names:
        return
    title = texts(f"monitor.{kind}")
    with st.container(key=f"chart-{kind}"):
        st.markdown(f"##### {title}")
        alt = words.bars_text(title, names, counts, texts)
        st.plotly_chart(count_chart(names, counts, texts), config=CONFIG, alt=alt, key=f"counts-{kind}")


def _show_checks(report: MonitoringReport, texts: Texts) -> None:
    if report.checks:
        st.markdown(f"##### {texts('monitor.checks')}")
        for line, numbers in words.check_lines(report, texts):
            st.markdown(f"{line}  \n:small[{numbers}]" if numbers else line)
        _table(words.check_rows(report, texts), texts)


def _show_feedback(report: MonitoringReport, known: Diagnoses, texts: Texts) -> None:
    scores = report.feedback
    st.markdown(f"##### {texts('monitor.feedback')}")
    st.markdown(
        texts(
            "monitor.feedback_counts",
            reviewed=texts.number(scores.reviewed),
            histology=texts.number(scores.histology),
            minimum=texts.number(scores.minimum),
        )
    )
    rows = {
        "monitor.accuracy": scores.accuracy,
        "monitor.malignant": scores.malignant_sensitivity,
        "monitor.ece": scores.ece,
    }
    show_table(
        [
            {
                texts("models.metric"): texts(title),
                texts("models.measured"): texts.interval(one) if one else texts("monitor.too_few"),
            }
            for title, one in rows.items()
        ]
    )
    if scores.classes:
        show_table(words.feedback_rows(report, known, texts))
    if report.comparisons:
        st.markdown(f"##### {texts('monitor.comparisons')}")
        st.dataframe(words.comparison_rows(report, texts), hide_index=True, alt=texts("monitor.comparisons"))
    if scores.disagreements and visit().may("read_own"):
        with st.container(border=True, key="disagreements"):
            wanted = st.selectbox(texts("monitor.disagreements"), scores.disagreements, key="disagreement")
            if st.button(texts("history.open"), key="open_disagreement"):
                st.session_state[session.OPEN_RECORD] = wanted
                st.switch_page("screens/record.py")


def _table(rows: list[dict[str, str]], texts: Texts) -> None:
    with st.expander(texts("answer.table_title")):
        show_table(rows)


if __name__ == "__main__":
    page()
