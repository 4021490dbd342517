"""The page that lists what was answered."""

from __future__ import annotations

from datetime import date

import attrs
import pytest

from lesion_ui.client import GatewayClient
from lesion_ui.history_view import Filters, diagnosis_name, fetch_all, fetch_page, rows
from lesion_ui.texts import texts_for
from support.app_pages import open_app, text
from support.fake_service import FakeService, make_prediction
from support.kept import CLINICIAN, make_caller, make_label, make_lines

KNOWN = {one.code: one for one in make_label().diagnoses}


def test_the_newest_are_listed_and_one_is_opened_again(connected: FakeService) -> None:
    """With its record."""
    app = open_app("history")
    assert "1–12 of 12, newest first" in text(app)
    assert len(app.dataframe[0].value) == 12

    app.selectbox(key="case").set_value("req-0007").run()
    app.button(key="open").click().run()

    assert "Request req-0007" in text(app)


def test_the_last_page_says_how_many_there_are(connected: FakeService) -> None:
    """And filters begin at the first page again."""
    connected.lines = make_lines(450)
    app = open_app("history")
    app.button(key="older").click().run()
    app.button(key="older").click().run()
    assert "401–450 of 450, newest first" in text(app)
    assert (len(app.dataframe[0].value), app.button(key="older").disabled) == (50, True)

    app.selectbox(key="filter_band").set_value("low").run()
    assert "1–150 of 150, newest first" in text(app)


def test_a_page_is_filled_from_short_ones(service: FakeService) -> None:
    """The gateway looks through so many records at a time, and gives what it has found by then."""
    service.lines, service.longest_page = make_lines(30), 7
    page = fetch_page(GatewayClient(service.endpoint), Filters(), None)
    assert ([line.request_id for line in page.items], page.next) == ([line.request_id for line in service.lines], None)

    service.lines = make_lines(200)
    page = fetch_page(GatewayClient(service.endpoint), Filters(), None)
    assert (len(page.items), page.next) == (70, "70")


def test_a_page_without_a_line_still_leads_on(connected: FakeService) -> None:
    """What is looked for may be far down."""
    connected.lines, connected.longest_page = make_lines(30), 0
    app = open_app("history")

    assert "Nothing so far" in text(app)
    assert not app.dataframe
    connected.longest_page = 200
    app.button(key="older").click().run()
    assert "1–30 of 30, newest first" in text(app)


def test_names_are_those_of_the_version_that_answered(connected: FakeService) -> None:
    """A code may stand for something else in another version, and in this program."""
    prediction = make_prediction()
    renamed = tuple(attrs.evolve(one, name=f"Own {one.code}") for one in prediction.probabilities)
    connected.answer(attrs.evolve(prediction, probabilities=renamed))
    app = open_app("history")
    app.run()

    assert app.dataframe[0].value["Most probable"][0] == "▲ Own MEL"
    assert sum("predictions/req-" in line for line in connected.asked) == 2  # a record of each version, once


def test_filters_go_to_the_gateway(connected: FakeService) -> None:
    """Which alone knows what the key may see."""
    app = open_app("history")
    app.selectbox(key="filter_band").set_value("high").run()
    app.date_input(key="filter_since").set_value(date(2026, 3, 1)).run()

    asked = [line for line in connected.asked if "predictions?" in line][-1]
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
    assert "201–400 of more than 400, newest first" in text(app)
    app.button(key="newer").click().run()
    assert "1–200 of more than 200, newest first" in text(app)
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
    """A code that is not known is shown as it is."""
    texts = texts_for(language)

    assert diagnosis_name("MEL", KNOWN, texts) == expected
    assert diagnosis_name("UNK", KNOWN, texts).startswith("○ ")
    assert diagnosis_name("XYZ", KNOWN, texts) == "XYZ"
    assert diagnosis_name("MEL", {}, texts) == "MEL"


def test_a_row_has_words_beside_every_mark() -> None:
    """Strangeness, photograph and judgement."""
    (row,) = rows(make_lines(1), {"2": KNOWN}, texts_for("en"))

    assert row["Photograph"] == "ok"
    assert row["Judgement"] == "not judged"
    assert row["Most probable"] == "▲ Melanoma"


def test_days_are_whole_and_both_ends_count() -> None:
    """Up to the beginning of the day after."""
    query = Filters(since=date(2026, 2, 28), until=date(2026, 2, 28)).query()

    assert (query["since"], query["until"]) == ("2026-02-28T00:00:00+00:00", "2026-03-01T00:00:00+00:00")
