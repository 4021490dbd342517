"""The page that assesses, run by Streamlit's own test harness against the fake service."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
from streamlit.testing.v1 import AppTest

from lesion_core.wire import Problem
from lesion_ui.client import TOKEN_VARIABLE, URL_VARIABLE
from support.app_pages import add, column, field, go_to, open_app, text, upload
from support.fake_service import FakeService, make_finding, make_prediction, outside_prediction


def fill_in(page: AppTest) -> None:
    """Everything that may be said of a patient."""
    field(page.number_input, "age").set_value(55)
    field(page.selectbox, "sex").set_value("male")
    field(page.selectbox, "site").set_value("posterior torso")
    field(page.text_input, "subject").set_value("P-1")
    page.run()


def test_an_uploaded_image_gets_its_diagnosis(connected: FakeService, image: bytes) -> None:
    """Name, number, plain words, chart, table and model."""
    page = upload(open_app(), ("SYNTHETIC.png", image))

    shown = text(page)
    assert "## Melanoma" in shown
    assert "62 % probability" in shown
    assert "A cancer of the pigment-making cells" in shown
    assert "efficientnet_lite0" in shown
    assert len(page.get("plotly_chart")) == 1
    assert column(page.table[0], "Diagnosis")[0] == "▲ Melanoma (MEL)"
    assert connected.requests == [image]


def test_the_notice_is_on_every_state_of_the_page(connected: FakeService, image: bytes) -> None:
    """Empty, answered, failed."""
    page = open_app()
    empty = text(page)
    answered = text(upload(page, ("SYNTHETIC.png", image)))
    failed = text(upload(page, ("SYNTHETIC.png", b"no image")))

    assert all("Research use only. Not a medical device" in shown for shown in (empty, answered, failed))


def test_an_empty_page_says_what_to_do(connected: FakeService) -> None:
    """And asks nobody."""
    page = open_app()

    assert "Choose an image to begin." in text(page)
    assert "Probabilities" not in text(page)
    assert connected.requests == []


def test_drawing_the_page_again_asks_only_once(connected: FakeService, image: bytes) -> None:
    """A second upload asks again."""
    page = upload(open_app(), ("SYNTHETIC.png", image))
    page.run()
    assert len(connected.requests) == 1

    connected.answer(make_prediction({"NV": 1.0}))
    assert "## Melanocytic nevus" in text(upload(page, ("other.png", image)))
    assert len(connected.requests) == 2


def test_an_image_unlike_the_training_images_gets_a_warning_first(connected: FakeService, image: bytes) -> None:
    """And what is wrong with the photograph."""
    connected.answer(outside_prediction())
    page = upload(open_app(), ("SYNTHETIC.png", image))

    shown = text(page)
    assert "## None of the above" in shown
    assert "Do not rely on the probabilities" in shown
    assert "The image is very dark." in shown


def test_a_photograph_that_is_not_usable_is_a_strong_notice(connected: FakeService, image: bytes) -> None:
    """With the number and its limit; the probabilities stay."""
    finding = make_finding(grade="reject", value=0.31, threshold=0.45, message="The image is blurred.")
    connected.answer(make_prediction(quality=(finding,)))
    page = upload(open_app(), ("SYNTHETIC.png", image))

    errors = "\n".join(item.value for item in page.error).replace("\\", "")
    assert "Do not rely on this answer" in errors
    assert "The image is blurred." in errors
    assert "Measured 0.31, limit 0.45" in errors
    assert "62 % probability" in text(page)


def test_a_photograph_with_a_flaw_is_a_milder_notice(connected: FakeService, image: bytes) -> None:
    """And one without is said to be fine."""
    connected.answer(make_prediction(quality=(make_finding(),)))
    flawed = upload(open_app(), ("SYNTHETIC.png", image))
    connected.answer(make_prediction())
    fine = upload(open_app(), ("SYNTHETIC.png", image))

    assert "Do not rely on this answer" not in text(flawed)
    assert not any("Photograph" in item.value for item in flawed.error)
    assert any("Measured 102, limit 128" in item.value.replace("\\", "") for item in flawed.warning)
    assert "Photograph: no problem found." in text(fine)


@pytest.mark.parametrize("data", [b"", b"no image", b"\x89PNG\r\n\x1a\nbroken", b"\xff\xd8\xff\xe0broken"])
def test_a_bad_file_is_a_message_and_is_not_sent(connected: FakeService, data: bytes) -> None:
    """In words; no number, no chart."""
    page = upload(open_app(), ("SYNTHETIC.png", data))

    assert "This image cannot be read" in text(page)
    assert not page.get("plotly_chart")
    assert "retry-0" not in [button.key for button in page.button]
    assert connected.requests == []


def test_a_service_that_is_down_is_a_message_until_it_is_up(connected: FakeService, image: bytes) -> None:
    """Trying again then shows the answer, not the old message."""
    connected.status, connected.body = 503, ""
    page = upload(open_app(), ("SYNTHETIC.png", image))
    assert "The prediction service is busy" in text(page)

    connected.answer(make_prediction())
    page.button(key="retry-0").click().run()

    assert "## Melanoma" in text(page)
    assert "The prediction service is busy" not in text(page)


def test_an_image_that_failed_is_asked_about_again_only_when_the_user_says_so(
    connected: FakeService, image: bytes
) -> None:
    """Drawing the page again would otherwise send it each time; 'Try again' does, for this image alone."""
    connected.answer(Problem(code="busy", message="Much to do."), status=503)
    page = upload(open_app(), ("a.png", image), ("b.png", image))
    page.run()
    assert len(connected.requests) == 2
    assert "The prediction service is busy" in text(page)

    page.button(key="retry-1").click().run()
    assert len(connected.requests) == 3
    page.run()
    assert len(connected.requests) == 3


@pytest.mark.parametrize("change", ["question", "service"])
def test_an_image_that_failed_is_asked_about_again_when_something_else_is_asked_or_another_service(
    change: str, connected: FakeService, image: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same question would fail again, another one need not."""
    connected.answer(Problem(code="bad_metadata", message="No such age."), status=422)
    page = upload(open_app(), ("a.png", image))
    connected.answer(make_prediction())
    if change == "question":
        field(page.number_input, "age").set_value(55)
    else:
        monkeypatch.setenv(URL_VARIABLE, connected.endpoint.url.replace("127.0.0.1", "localhost"))
    page.run()

    assert "## Melanoma" in text(page)


def test_nothing_of_the_last_answer_stays_beside_an_error(connected: FakeService, image: bytes) -> None:
    """A diagnosis under another image would be the worst mistake of this page."""
    page = upload(open_app(), ("SYNTHETIC.png", image))
    connected.answer(Problem(code="too_small", message="Too small."), status=422)
    upload(page, ("second.png", image))

    shown = text(page)
    assert "Too small." in shown
    assert "Melanoma" not in shown
    assert not page.get("plotly_chart")


def test_what_is_known_of_a_patient_goes_with_the_images(connected: FakeService, image: bytes) -> None:
    """The next image may be of another one; the page says with what each answer was asked."""
    page = open_app()
    fill_in(page)
    shown = text(upload(page, ("first.png", image)))
    assert "Asked with: age 55, male, back of the torso. Pseudonym: P-1." in shown
    assert "X-Lesion-Metadata" in connected.headers
    asked_with = field(page.number_input, "age").key

    shown = text(upload(page, ("second.png", image)))
    assert "Asked without age, sex and site." in shown
    assert "were emptied with the images before" in shown
    assert field(page.number_input, "age").key != asked_with  # or a browser that is behind would send it again
    assert not {"X-Lesion-Metadata", "X-Lesion-Subject"} & set(connected.headers)
    assert [field(page.number_input, "age").value, field(page.selectbox, "sex").value] == [None, None]
    assert [field(page.selectbox, "site").value, field(page.text_input, "subject").value] == [None, ""]


def test_what_is_known_of_a_patient_stays_behind_with_the_page(connected: FakeService, image: bytes) -> None:
    """As the choice of images does; the answers are still there, with what they were asked with."""
    page = open_app()
    fill_in(page)
    upload(page, ("first.png", image))
    asked_with = field(page.number_input, "age").key
    shown = text(go_to(go_to(page, "help"), "assess"))

    assert "Asked with: age 55, male, back of the torso." in shown
    assert field(page.number_input, "age").value is None
    assert field(page.number_input, "age").key != asked_with


def test_another_image_of_the_same_lesion_is_asked_with_the_same(connected: FakeService, image: bytes) -> None:
    """It was added, so nothing is emptied; the answer for both says with what it was asked."""
    page = open_app()
    fill_in(page)
    upload(page, ("first.png", image))
    shown = text(add(page, "b.png", image))

    assert field(page.number_input, "age").value == 55
    assert "were emptied" not in shown
    assert shown.count("Asked with: age 55, male, back of the torso.") == 3


def test_images_asked_about_with_different_ages_are_said_to_be(connected: FakeService, image: bytes) -> None:
    """Their mean is of no one patient."""
    page = upload(open_app(), ("a.png", image), ("b.png", image))
    held = page.session_state["assessment"]
    first = next(iter(held))
    held[first] = attrs.evolve(held[first], question=attrs.evolve(held[first].question, metadata={"age_approx": 9}))

    assert "with different ages, sexes, sites or pseudonyms" in text(page.run())


def test_a_new_lesion_and_the_other_source_begin_without_a_patient(connected: FakeService, image: bytes) -> None:
    """There too an image of somebody else comes next."""
    page = open_app()
    fill_in(page)
    upload(page, ("first.png", image))
    page.segmented_control(key="source").set_value("camera").run()
    assert field(page.number_input, "age").value is None

    fill_in(page)
    page.button(key="new_lesion").click().run()
    assert field(page.number_input, "age").value is None
    assert "Choose an image to begin." in text(page)


def test_a_missing_server_is_named_before_any_upload(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With a way to look again."""
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    monkeypatch.setenv("LESION_HOME", str(tmp_path))
    page = open_app()

    assert "The app is not connected to a prediction service" in text(page)
    assert page.button(key="retry-0").label == "Try again"


def test_a_mistake_of_ours_is_a_sentence_and_no_stack_trace(
    connected: FakeService, image: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason goes to the log."""

    def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("lesion_ui.view.answer_view", broken)
    shown = text(upload(open_app(), ("SYNTHETIC.png", image)))

    assert "Something went wrong in the app" in shown
    assert "secret detail" not in shown
    assert "Traceback" not in shown


def test_words_of_the_service_cannot_become_markup(connected: FakeService, image: bytes) -> None:
    """No picture from elsewhere, no link."""
    finding = make_finding(message="![pixel](http://192.0.2.1/x.png) <b>bold</b>")
    connected.answer(make_prediction(quality=(finding,)))
    page = upload(open_app(), ("SYNTHETIC.png", image))

    (warning,) = [item.value for item in page.warning if "pixel" in item.value]
    assert "![" not in warning
    assert "\\!\\[pixel\\]\\(http\\:" in warning
