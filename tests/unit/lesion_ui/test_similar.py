"""Reference images beside an answer: shown where there are some, and never in the way of the answer."""

from __future__ import annotations

import base64

from lesion_core.service import SimilarCase, SimilarCases
from lesion_core.wire import Prediction, from_json
from lesion_ui import session
from lesion_ui.client import GatewayClient
from support.app_pages import open_app, text, upload
from support.fake_service import FakeService


def make_similar(image: bytes) -> SimilarCases:
    thumbnail = base64.b64encode(image).decode()
    cases = tuple(
        SimilarCase(diagnosis=code, distance=float(place), jpeg_base64=thumbnail)
        for place, code in enumerate(("MEL", "NV", "MEL", "MEL", "NV", "BCC"))
    )
    return SimilarCases(request_id="r", source="isic-2019:data", images=800, agreement=0.46, cases=cases)


def test_reference_images_stand_beside_the_answer(connected: FakeService, image: bytes) -> None:
    """Counted by diagnosis, with what being near is worth; asked for once."""
    connected.similar = make_similar(image)

    page = upload(open_app(), ("SYNTHETIC.png", image))
    page.run()

    shown = text(page)
    assert "The 6 nearest: Melanoma (3), Melanocytic nevus (2) and Basal cell carcinoma (1)." in shown
    assert "46 % have the same diagnosis" in shown
    assert "Of 800 labelled images of isic" in shown
    assert shown.index("## Melanoma") < shown.index("Reference images that are alike")
    assert sum(path.endswith("/similar") for path in connected.asked) == 1


def test_each_of_several_images_has_its_own(connected: FakeService, image: bytes) -> None:
    """Folded away with the details of that image."""
    connected.similar = make_similar(image)

    page = upload(open_app(), ("first.png", image), ("second.png", image))

    assert not page.exception
    assert text(page).count("The 6 nearest") == 2


def test_without_an_atlas_the_answer_stands_alone(connected: FakeService, image: bytes) -> None:
    shown = text(upload(open_app(), ("SYNTHETIC.png", image)))

    assert "## Melanoma" in shown
    assert "Reference images" not in shown


def test_a_broken_atlas_takes_nothing_from_the_answer(connected: FakeService, image: bytes) -> None:
    connected.similar_breaks = True

    shown = text(upload(open_app(), ("SYNTHETIC.png", image)))

    assert "## Melanoma" in shown
    assert "The reference images cannot be shown at the moment." in shown


def test_an_opened_record_has_them_too(connected: FakeService, image: bytes) -> None:
    connected.similar = make_similar(image)
    page = open_app("record")
    page.session_state[session.OPEN_RECORD] = connected.lines[0].request_id

    assert "The 6 nearest" in text(page.run())


def test_the_client_takes_what_the_service_says(service: FakeService, image: bytes) -> None:
    client = GatewayClient(service.endpoint)
    assert client.similar("a/b") is None

    service.similar = make_similar(image)

    assert client.similar("a/b") == service.similar
    assert isinstance(from_json(service.body, Prediction), Prediction)
