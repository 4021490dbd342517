"""The page that lists what was answered."""

from __future__ import annotations

from datetime import date

import pytest

from lesion_ui.client import GatewayClient
from lesion_ui.history_view import Filters, diagnosis_name, fetch_all, rows
from lesion_ui.texts import texts_for
from support.app_pages import open_app, text
from support.fake_service import FakeService
from support.kept import CLINICIAN, make_caller, make_lines


def test_the_newest_are_listed_and_one_is_opened_again(connected: FakeService) -> None:
    """With its record."""
    app = open_app("history")
    assert "1–12, newest first" in text(app)
    assert len(app.dataframe[0].value) == 12

    app.selectbox(key="case").set_value("req-0007").run()
    app.button(key="open").click().run()

    assert "Request req-0007" in text(app)


def test_filters_go_to_the_gateway(connected: FakeService) -> None:
    """Which alone knows what the key may see."""
    app = open_app("history")
    app.selectbox(key="filter_band").set_value("high").run()
    app.date_input(key="filter_since").set_value(date(2026, 3, 1)).run()

    asked = connected.asked[-1]
    assert "band=high" in asked
    assert "since=2026-03-01T00%3A00%3A00%2B00%3A00" in asked
    assert set(app.dataframe[0].value["Band"]) == {"high"}


def test_a_store_without_a_prediction_says_how_to_get_one(connected: FakeService) -> None:
    """And filters that let nothing through say something else."""
    connected.lines = []
    app = open_app("history")
    assert "Nothing was answered yet." in text(app)

    app.selectbox(key="filter_band").set_value("low").run()
    assert "Nothing fits these filters." in text(app)


def test_ten_thousand_rows_are_shown_in_parts_and_exported_whole(connected: FakeService) -> None:
    """The page stays as long as a screen."""
    connected.lines = make_lines(10_000)
    app = open_app("history")
    assert len(app.dataframe[0].value) == 200

    app.button(key="older").click().run()
    assert "201–400" in text(app)
    app.button(key="collect").click().run()
    assert "10 000 rows" in app.get("download_button")[-1].proto.label.replace("\u202f", " ")


def test_more_rows_than_a_file_takes_are_said_to_be_cut(service: FakeService) -> None:
    """Never in silence."""
    service.lines = make_lines(10_200)
    lines, is_cut = fetch_all(GatewayClient(service.endpoint), Filters())

    assert (len(lines), is_cut) == (10_000, True)


def test_the_page_says_whose_predictions_it_lists(connected: FakeService) -> None:
    """Those of the key, or all."""
    assert "All predictions of this service." in text(open_app("history"))

    connected.caller = make_caller(CLINICIAN)
    assert "asked for with your key" in text(open_app("history"))


@pytest.mark.parametrize(("language", "expected"), [("en", "▲ Melanoma"), ("de", "▲ Melanom")])
def test_classes_bear_their_symbol(language: str, expected: str) -> None:
    """Another taxonomy's code is shown as it is."""
    texts = texts_for(language)

    assert diagnosis_name("MEL", {"MEL": "Melanoma"}, texts) == expected
    assert diagnosis_name("XYZ", {}, texts) == "XYZ"


def test_a_row_has_words_beside_every_mark() -> None:
    """Strangeness, photograph and judgement."""
    (row,) = rows(make_lines(1), {}, texts_for("en"))

    assert row["Photograph"] == "ok"
    assert row["Judgement"] == "not judged"
    assert row["Most probable"] == "▲ Melanoma"


def test_days_are_whole_and_both_ends_count() -> None:
    """Up to the beginning of the day after."""
    query = Filters(since=date(2026, 2, 28), until=date(2026, 2, 28)).query()

    assert (query["since"], query["until"]) == ("2026-02-28T00:00:00+00:00", "2026-03-01T00:00:00+00:00")
