"""The page that watches the service."""

from __future__ import annotations

import attrs

from lesion_core.service import DiagnosisLine
from lesion_core.taxonomy import Malignancy
from lesion_ui.monitor_view import check_lines, check_rows, counts_of, verdict
from lesion_ui.texts import texts_for
from support.app_pages import column, open_app, text
from support.fake_service import FakeService
from support.kept import make_caller, make_label, make_report

ENGLISH = texts_for("en")


def test_alerts_come_first_then_the_numbers_with_their_intervals(connected: FakeService) -> None:
    """In words, beside the charts."""
    app = open_app("monitor")
    shown = text(app)

    assert "class_mix_drift: The mix of diagnoses has changed. (firing, since 2026-03-02 09:30 UTC)" in shown
    assert "#### 71 %" in shown
    assert "(95 % CI 61–81 %)" in shown
    assert "75 answers were judged, 31 of them by histology." in shown
    assert len(app.get("plotly_chart")) == 4
    assert all(chart.proto.alt for chart in app.get("plotly_chart"))


def test_the_window_is_asked_of_the_gateway(connected: FakeService) -> None:
    """In days."""
    app = open_app("monitor")
    app.segmented_control(key="days").set_value(7).run()

    assert [line for line in connected.asked if "monitoring" in line][-1] == "GET /v1/monitoring?days=7"


def test_a_window_without_a_prediction_says_so(connected: FakeService) -> None:
    """And draws no empty chart."""
    connected.report = None
    app = open_app("monitor")

    assert "Nothing was answered in these days." in text(app)
    assert not app.error
    assert not app.get("plotly_chart")


def test_too_little_feedback_is_no_number(connected: FakeService) -> None:
    """A score of three answers would mislead."""
    report = make_report()
    connected.report = attrs.evolve(report, feedback=attrs.evolve(report.feedback, accuracy=None))

    assert "#### too few" in text(open_app("monitor"))


def test_a_disagreement_is_opened(connected: FakeService) -> None:
    """The case behind the number."""
    app = open_app("monitor")
    app.button(key="open_disagreement").click().run()

    assert "Request req-0007" in text(app)


def test_a_role_without_the_right_has_no_such_page(connected: FakeService) -> None:
    """Nor is the gateway asked for it."""
    connected.caller = make_caller(("predict", "read_own"))
    open_app("assess")

    assert not any("monitoring" in line for line in connected.asked)


def test_alarms_are_on_top_and_have_a_symbol() -> None:
    """Never by colour alone."""
    table = check_rows(make_report(), ENGLISH)

    assert [row["Verdict"] for row in table] == ["▲ alarm", "● no alarm"]
    check = attrs.evolve(make_report().checks[0], threshold=None)
    assert verdict(check, ENGLISH) == "○ too little to say"


def test_a_comparison_that_could_not_be_made_is_its_reason_alone() -> None:
    """Dashes in place of numbers say nothing."""
    check = attrs.evolve(
        make_report().checks[0], name="reference", statistic="none", value=None, sentence="The bundle holds no sample."
    )
    ((line, numbers),) = check_lines(attrs.evolve(make_report(), checks=(check,)), ENGLISH)

    assert "The bundle holds no sample" in line
    assert numbers == ""


def test_classes_are_ordered_by_their_count() -> None:
    """The most frequent on top."""
    known = {one.code: one for one in make_label().diagnoses}
    names, counts = counts_of(make_report(classes={"NV": 3, "MEL": 5}), "classes", known, ENGLISH)

    assert (names, counts) == (["▲ Melanoma", "● Melanocytic nevus"], [5, 3])


def test_diagnoses_bear_the_names_of_the_models_own_taxonomy(connected: FakeService) -> None:
    """Not those that this program has for the same codes."""
    own = DiagnosisLine(code="MEL", name="Mela *nosis*", malignancy=Malignancy.BENIGN, is_trained=True)
    connected.label = make_label(diagnoses=(own,))
    app = open_app("monitor")

    feedback = next(table for table in app.table if "Diagnosis" in table.value)
    assert column(feedback, "Diagnosis") == ["● Mela *nosis*"]
    assert any("● Mela *nosis* 200" in chart.proto.alt for chart in app.get("plotly_chart"))
