"""The page of the versions."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesion_core.service import Change, Versions
from lesion_ui.evaluation_view import evaluation_view, interval_of
from lesion_ui.texts import texts_for
from support.app_pages import column, open_app, text
from support.fake_service import FakeService
from support.kept import CLINICIAN, make_caller, make_evaluation, make_version, make_versions

ENGLISH = texts_for("en")
JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def test_a_version_is_shown_with_all_that_was_measured_of_it(connected: FakeService) -> None:
    """Scores with intervals, two charts with text, subgroups, card and history."""
    app = open_app("models")
    shown = text(app)

    assert "Answers 100 % of the requests; 2 of 2 workers ready." in shown
    assert "Measured on isic2019, part test: 604 images of 438 lesions." in shown
    assert all(chart.proto.alt for chart in app.get("plotly_chart"))
    assert len(app.get("plotly_chart")) == 2
    assert "Trained on **isic2019**." in shown
    scores = column(app.table[0], "Value")
    assert scores[0] == "0.647 (95 % CI 0.607–0.687)"
    assert column(app.table[0], "Score") == [
        "BMA: mean sensitivity of the classes – validation part",
        "Sensitivity for Melanoma (MEL) – validation part",
        "BMA: mean sensitivity of the classes – test part",
    ]


def test_a_card_shows_no_picture_from_elsewhere(connected: FakeService) -> None:
    """The page asks nobody but the app."""

    assert "192.0.2.1" not in text(open_app("models"))


def test_a_version_without_an_evaluation_says_how_to_get_one(connected: FakeService) -> None:
    """As older bundles are."""
    app = open_app("models")
    app.selectbox(key="version").set_value("2").run()

    assert "This version has no evaluation." in text(app)
    assert not app.get("plotly_chart")


def test_no_champion_and_no_version_are_said(connected: FakeService) -> None:
    """Two different things."""
    connected.versions = Versions(versions=(make_version("4", "challenger"),), history=())
    assert "There is no champion" in text(open_app("models"))

    connected.versions = Versions(versions=(), history=())
    assert "No version is deployed." in text(open_app("models"))


def test_only_those_who_may_deploy_can_change_the_champion(connected: FakeService) -> None:
    """Clinicians see scores."""
    connected.caller = make_caller(CLINICIAN)

    assert len(open_app("models").radio) == 0


def test_a_change_needs_a_reason_and_a_look(connected: FakeService) -> None:
    """Then it goes to the gateway, which keeps it."""
    app = open_app("models")
    app.radio(key="deploy_choice").set_value(("promote", "4"))
    app.button(key="FormSubmitter:deploy_form-Change now").click().run()
    assert "Say why, and confirm" in text(app)
    assert connected.said == []

    app.radio(key="deploy_choice").set_value(("promote", "4"))
    app.text_area(key="deploy_why").set_value("Better on head and neck.")
    app.checkbox(key="deploy_sure").set_value(True)
    app.button(key="FormSubmitter:deploy_form-Change now").click().run()

    assert connected.said == [{"action": "promote", "version": "4", "why": "Better on head and neck."}]
    assert "Done: the champion is 3." in text(app)
    assert (app.text_area(key="deploy_why").value, app.checkbox(key="deploy_sure").value) == ("", False)


def test_a_rollback_names_no_version(connected: FakeService) -> None:
    """The gateway knows which one was before, and refuses to be told."""
    app = open_app("models")
    app.radio(key="deploy_choice").set_value(("rollback", "2"))
    app.text_area(key="deploy_why").set_value("Worse in winter.")
    app.checkbox(key="deploy_sure").set_value(True)
    app.button(key="FormSubmitter:deploy_form-Change now").click().run()

    assert connected.said == [{"action": "rollback", "why": "Worse in winter."}]


def test_words_in_a_table_are_shown_as_they_are(connected: FakeService) -> None:
    """A table of Streamlit's would fetch the picture; names of classes and reasons come from elsewhere."""
    change = Change(at="2026-03-02T09:30:00+00:00", by="k", action="a", before="1", after="2", why="![x](http://a.b/c)")
    connected.versions = attrs.evolve(make_versions(), history=(change,))
    content = make_evaluation()
    content["classes"][0]["name"] = "[own](http://a.b)"
    connected.evaluation = content
    tables = [table.value for table in open_app("models").table]

    assert [list(table["Why"]) for table in tables if "Why" in table] == [["\\!\\[x\\]\\(http\\:\u2060//a.b/c\\)"]]
    (confusion,) = [table for table in tables if "True class" in table]
    assert confusion["True class"].iloc[0] == confusion.columns[1].removesuffix(" \\(MEL\\)")
    assert confusion["True class"].iloc[0] == "\\[own\\]\\(http\\:\u2060//a.b\\)"


def test_a_change_of_a_challenger_that_has_gone_has_no_version_after_it(connected: FakeService) -> None:
    """A dash in its place."""
    gone = Change(at="2026-03-02T09:30:00+00:00", by="key a1b2c3d4", action="withdraw", before="4", after=None)
    connected.versions = attrs.evolve(make_versions(), history=(gone,))
    history = next(table.value for table in open_app("models").table if "After" in table.value)

    assert list(history["After"]) == ["–"]


def test_something_wrong_with_a_version_is_on_top(connected: FakeService) -> None:
    """In the gateway's words, as text."""
    version = make_version("3", "champion", finding="Worker died. <b>")
    connected.versions = attrs.evolve(make_versions(), versions=(version,))

    assert "Something is wrong with it: Worker died. <b>" in text(open_app("models"))


def test_an_evaluation_is_read_part_by_part() -> None:
    """All of it is there."""
    view = evaluation_view(make_evaluation(), ENGLISH)

    assert len(view.bins) == 4
    assert view.confusion[0][0] == 60
    assert [row["Group"] for row in view.subgroups] == ["female", "male"]
    assert view.subgroups[0]["Specificity"] == "–"


@pytest.mark.parametrize(("called", "ppv"), [(9, "too few"), (10, "0.647 (95 % CI 0.582–0.717)")])
def test_a_predictive_value_of_hardly_any_images_is_not_shown(called: int, ppv: str) -> None:
    """The confusion matrix says of how many it is; without one it is shown as the evaluation has it."""
    content = make_evaluation()
    content["confusion"] = [[called if row == column else 0 for column in range(8)] for row in range(8)]
    content["classes"][0]["npv"] = content["classes"][0]["ppv"]
    row = evaluation_view(content, ENGLISH).classes[0]
    assert row["PPV"].replace("\u00a0", " ") == ppv
    assert row["NPV"] != "too few"

    del content["confusion"]
    assert evaluation_view(content, ENGLISH).classes[0]["PPV"] != "too few"


@pytest.mark.parametrize("part", sorted(make_evaluation()))
def test_a_part_that_is_missing_takes_nothing_else_along(part: str) -> None:
    """Another release may have others. Names and the confusion matrix need the codes."""
    content = make_evaluation()
    whole = attrs.asdict(evaluation_view(content, ENGLISH), recurse=False)
    del content[part]

    left = attrs.asdict(evaluation_view(content, ENGLISH), recurse=False)

    lost = {name for name, value in whole.items() if left[name] != value}
    assert len(lost) <= 2 or (part, lost) == ("codes", {"codes", "names", "confusion"}), lost


@given(st.dictionaries(st.sampled_from(sorted(make_evaluation())), JSON))
def test_any_json_is_a_view(content: dict[str, Any]) -> None:
    """What is not understood counts as missing."""

    assert evaluation_view(content, ENGLISH) is not None


def test_a_number_without_its_interval_is_none() -> None:
    """No score is shown without one."""
    assert interval_of({"value": 0.5}) is None
    assert interval_of({"value": True, "low": 0, "high": 1}) is None
