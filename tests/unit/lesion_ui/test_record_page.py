"""The page of one kept answer."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from support.app_pages import go_to, open_app, text, upload
from support.fake_service import FakeService
from support.kept import CLINICIAN, make_caller


def open_record(request_id: str = "req-0005") -> AppTest:
    app = open_app("record")
    app.text_input(key="request_id").set_value(request_id)
    app.button(key="FormSubmitter:open_form-Open").click()
    return app.run()


def judge(app: AppTest, kind: str, *, diagnosis: str | None = None, comment: str = "") -> AppTest:
    app.radio(key="feedback_kind").set_value(kind).run()
    if diagnosis is not None:
        app.selectbox(key="feedback_diagnosis").set_value(diagnosis)
    app.text_area(key="feedback_comment").set_value(comment)
    app.button(key="FormSubmitter:feedback_form-Save").click()
    return app.run()


def test_a_request_that_is_named_is_shown(connected: FakeService) -> None:
    """With its answer, its facts and files to take along."""
    shown = text(app := open_record())

    assert "Request req-0005" in shown
    assert "## Melanoma" in shown
    assert "Nobody has judged this answer yet." in shown
    assert len(app.get("download_button")) == 3


def test_an_answer_is_carried_over_with_its_image(connected: FakeService, image: bytes) -> None:
    """From the page that asked; the image is there as long as the session."""
    app = upload(open_app(), ("SYNTHETIC.png", image))
    app.button(key="open_record-0").click().run()

    assert "Request req-0001" in text(app)
    assert "The image is not kept" not in text(app)
    assert "## Melanoma" in text(go_to(app, "assess"))


@pytest.mark.parametrize(
    ("kind", "diagnosis", "comment", "said"),
    [
        ("agree", None, "", {"verdict": "agree"}),
        ("other", "NV", "seen", {"verdict": "other", "diagnosis": "NV", "comment": "seen"}),
        ("histology", "NV", "", {"verdict": "other", "diagnosis": "NV", "source": "histology"}),
        ("histology", "MEL", "", {"verdict": "agree", "source": "histology"}),
        ("comment", None, "unsure", {"verdict": "comment", "comment": "unsure"}),
    ],
)
def test_a_judgement_is_saved_and_shown(
    connected: FakeService, kind: str, diagnosis: str | None, comment: str, said: dict[str, str]
) -> None:
    """As the gateway takes it."""
    app = judge(open_record(), kind, diagnosis=diagnosis, comment=comment)

    assert connected.said == [said]
    assert "Saved." in text(app)
    assert "2026-03-02 10:00 UTC" in text(app)


@pytest.mark.parametrize(("kind", "reason"), [("other", "Choose a diagnosis."), ("comment", "Write a comment.")])
def test_a_judgement_without_its_content_is_not_sent(connected: FakeService, kind: str, reason: str) -> None:
    """And says what is missing."""
    app = judge(open_record(), kind)

    assert reason in text(app)
    assert connected.said == []


def test_a_request_that_is_not_there_is_a_sentence(connected: FakeService) -> None:
    """The same as one that the key may not see."""

    assert "There is no such prediction" in text(open_record("req-9999"))


def test_a_role_that_may_not_judge_sees_no_form(connected: FakeService) -> None:
    """But what others said."""
    connected.caller = make_caller(("read_own", "read_all"), role="auditor")
    app = open_app("record")
    app.session_state["open_record"] = "req-0005"
    app.run()

    assert "## Melanoma" in text(app)
    assert len(app.radio) == 0


def test_the_pages_of_a_clinician_hold_nothing_for_engineers(connected: FakeService) -> None:
    """Monitoring is not among them."""
    connected.caller = make_caller(CLINICIAN, role="clinician")
    app = open_app("record")

    assert "Signed in: Ward 3 (clinician)" in text(app)
