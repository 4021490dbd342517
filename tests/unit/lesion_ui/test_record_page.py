"""The page of one kept answer."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from lesion_ui import session
from support.app_pages import field, go_to, open_app, text, upload
from support.fake_service import FakeService
from support.kept import CLINICIAN, make_caller


def open_record(request_id: str = "req-0005") -> AppTest:
    return open_other(open_app("record"), request_id)


def draft(app: AppTest, kind: str, *, diagnosis: str | None = None, comment: str = "") -> AppTest:
    """Fill the fields for req-0005 in."""
    field(app.radio, "feedback_kind").set_value(kind).run()
    if diagnosis is not None:
        field(app.selectbox, "feedback_diagnosis").set_value(diagnosis)
    field(app.text_area, "feedback_comment").set_value(comment)
    return app.run()


def judge(app: AppTest, kind: str, *, diagnosis: str | None = None, comment: str = "") -> AppTest:
    field(draft(app, kind, diagnosis=diagnosis, comment=comment).button, "feedback_save").click()
    return app.run()


def open_other(app: AppTest, request_id: str) -> AppTest:
    app.text_input(key="request_id").set_value(request_id)
    app.button(key="FormSubmitter:open_form-Open").click()
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


def test_a_draft_stays_with_its_request(connected: FakeService) -> None:
    """Under the answer for another patient the fields are empty, and what is saved there is of that one alone."""
    app = open_other(draft(open_record(), "histology", diagnosis="NV", comment="of the first"), "req-0006")
    assert field(app.radio, "feedback_kind").value == "agree"
    assert field(app.text_area, "feedback_comment").value == ""
    field(app.button, "feedback_save").click().run()
    assert connected.said == [{"verdict": "agree"}]

    go_to(open_other(app, "req-0005"), "history")
    go_to(app, "record")
    assert field(app.radio, "feedback_kind").value == "histology"
    assert field(app.selectbox, "feedback_diagnosis").value == "NV"
    assert field(app.text_area, "feedback_comment").value == "of the first"
    # What a browser shows that has forgotten the field, while the server has not.
    assert field(app.radio, "feedback_kind").proto.default == 2
    chosen = field(app.selectbox, "feedback_diagnosis").proto
    assert chosen.options[chosen.default] == "Melanocytic nevus (NV)"
    assert field(app.text_area, "feedback_comment").proto.default == "of the first"


def test_a_judgement_that_was_saved_leaves_no_draft(connected: FakeService) -> None:
    """It would be sent twice."""
    app = judge(open_record(), "other", diagnosis="NV", comment="once")
    assert field(app.text_area, "feedback_comment").value == ""
    field(app.radio, "feedback_kind").set_value("other").run()

    assert field(app.selectbox, "feedback_diagnosis").value is None
    assert field(app.button, "feedback_save").click().run()
    assert len(connected.said) == 1


def test_a_judgement_that_could_not_be_saved_is_still_there(connected: FakeService) -> None:
    """To be sent again."""
    app = draft(open_record(), "comment", comment="unsure")
    connected.refuses = True
    field(app.button, "feedback_save").click().run()
    connected.refuses = False
    app.run()

    assert connected.said == []
    assert field(app.text_area, "feedback_comment").value == "unsure"


@pytest.mark.parametrize(("kind", "reason"), [("other", "Choose a diagnosis."), ("comment", "Write a comment.")])
def test_a_judgement_without_its_content_is_not_sent(connected: FakeService, kind: str, reason: str) -> None:
    """And says what is missing."""
    app = judge(open_record(), kind)

    assert reason in text(app)
    assert connected.said == []


def test_a_request_that_is_not_there_is_a_sentence(connected: FakeService) -> None:
    """The same as one that the key may not see."""

    assert "There is no such prediction" in text(open_record("req-9999"))


def test_of_a_patient_who_was_erased_nothing_more_is_asked(connected: FakeService) -> None:
    """The service would refuse it; what was being written of the patient is forgotten here as well."""
    draft(app := open_record(), "comment", comment="unsure")
    connected.erased.add("req-0005")
    shown = text(app.run())

    assert "The patient of this answer was erased" in shown
    assert "P-1" not in shown
    assert len(app.text_area) == len(app.radio) == 0
    assert app.session_state[session.DRAFTS] == {}


def test_the_image_of_a_patient_who_was_erased_is_not_shown(connected: FakeService, image: bytes) -> None:
    """Not even by the session that sent it and still has it."""
    app = upload(open_app(), ("SYNTHETIC.png", image))
    app.button(key="open_record-0").click().run()
    assert "Asked without age" in text(app)
    assert len(app.get("image")) == 1
    connected.erased.add("req-0001")
    app.run()

    assert "The patient of this answer was erased" in text(app)
    assert "Asked without age" not in text(app)
    assert len(app.get("image")) == 0


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
