"""Every page in every state that a clinic meets: a sentence, the notice, and never a stack trace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from lesion_core.processes import free_port
from lesion_core.service import Versions
from lesion_core.wire import ModelIdentity, Problem, to_json
from lesion_ui import client
from lesion_ui.app import ENTRIES
from lesion_ui.client import CONNECT_S, URL_VARIABLE
from support.app_pages import open_app, text, upload
from support.fake_service import FakeService, make_finding, make_prediction, outside_prediction
from support.image_files import seed_files
from support.kept import make_lines, make_version

PAGES = tuple(entry.name for entry in ENTRIES)
Prepare = Callable[[FakeService], None]


def _hangs(service: FakeService) -> None:
    service.hang = True


def _refuses(service: FakeService) -> None:
    service.refuses = True


def _is_busy(service: FakeService) -> None:
    service.answer(Problem(code="busy", message="Much to do."), status=503)


def _is_empty(service: FakeService) -> None:
    service.lines, service.report = [], None


def _has_an_old_model(service: FakeService) -> None:
    identity = ModelIdentity(name="m", version="1", backbone="old", bundle_digest="0" * 64)
    service.answer(make_prediction(model=identity, risk=None))
    service.versions = Versions(versions=(make_version("1", "champion", metrics={}, has_evaluation=True),), history=())
    service.evaluation = {"schema_version": 0}


def _has_no_champion(service: FakeService) -> None:
    service.versions = Versions(versions=(), history=())
    service.answer(Problem(code="not_ready", message="No worker."), status=503)


def _has_ten_thousand_rows(service: FakeService) -> None:
    service.lines = make_lines(10_000)


def _rejects_the_photograph(service: FakeService) -> None:
    service.answer(make_prediction(quality=(make_finding(grade="reject"), make_finding(code="ruler"))))


def _is_outside(service: FakeService) -> None:
    service.answer(outside_prediction())


def _answers_nonsense(service: FakeService) -> None:
    service.body = "<html>"


def _as_it_should(service: FakeService) -> None:
    pass


# State: how it comes about, and the files that are uploaded.
STATES: dict[str, tuple[Prepare, str]] = {
    "well": (_as_it_should, "one"),
    "several images": (_as_it_should, "several"),
    "a bad image": (_as_it_should, "bad"),
    "a good and a bad image": (_as_it_should, "mixed"),
    "dicom": (_as_it_should, "dicom"),
    "quality reject": (_rejects_the_photograph, "several"),
    "out of distribution": (_is_outside, "several"),
    "slow": (_hangs, "none"),
    "key expired": (_refuses, "none"),
    "busy": (_is_busy, "one"),
    "empty store": (_is_empty, "none"),
    "ten thousand rows": (_has_ten_thousand_rows, "none"),
    "old model": (_has_an_old_model, "one"),
    "no champion": (_has_no_champion, "one"),
    "nonsense": (_answers_nonsense, "one"),
}


def files(kind: str, image: bytes) -> list[tuple[str, bytes]]:
    dicom = next(data for name, data in seed_files().items() if "dicom" in name.lower() or name.endswith(".dcm"))
    return {
        "none": [],
        "one": [("a.png", image)],
        "several": [("a.png", image), ("b.png", image), ("c.png", image)],
        "bad": [("a.png", b"no image")],
        "mixed": [("a.png", image), ("b.png", b"no image")],
        "dicom": [("a.dcm", dicom)],
    }[kind]


def open_in_state(page: str, uploads: list[tuple[str, bytes]], language: str) -> AppTest:
    """A page as a user comes to it: with an open record, and images where there is a place for them."""
    app = open_app(page, language=language)
    app.session_state["open_record"] = "req-0005"
    app.run()
    keys = [uploader.key for uploader in app.file_uploader]
    for key in ("image", "batch_files"):
        if uploads and key in keys:
            upload(app, *uploads, key=key)
    if "batch_start" in [button.key for button in app.button]:
        app.button(key="batch_start").click().run()
        app.session_state["batch"].wait(60)
        app.run()
    return app


@pytest.mark.parametrize(("page", "state"), [(page, state) for page in PAGES for state in STATES])
def test_every_page_in_every_state_is_words(
    page: str, state: str, connected: FakeService, image: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of them in German, so that each text is filled in once."""
    prepare, kind = STATES[state]
    if prepare is _hangs:
        monkeypatch.setattr(client, "CONNECT_S", CONNECT_S)
    prepare(connected)
    language = ("en", "de")[(PAGES.index(page) + list(STATES).index(state)) % 2]
    shown = text(open_in_state(page, files(kind, image), language))

    assert ("Research use only" if language == "en" else "Nur für die Forschung") in shown
    assert "went wrong" not in shown
    assert "schiefgegangen" not in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("page", PAGES)
def test_a_server_that_is_down_is_told_with_what_to_do(
    page: str, connected: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On every page; how soon, benchmarks/app_speed.py prints."""
    app = open_app(page)
    monkeypatch.setattr(client, "CONNECT_S", CONNECT_S)
    monkeypatch.setenv(URL_VARIABLE, f"http://127.0.0.1:{free_port()}/v1/predictions")

    app.run()

    shown = text(app)
    assert "The prediction service cannot be reached" in shown
    assert "lesion-serve start" in shown
    assert app.button(key="retry-0").label == "Try again"


def test_an_expired_key_asks_for_another(connected: FakeService) -> None:
    """And says why."""
    connected.refuses = True
    app = open_app()

    assert "The key was not accepted" in text(app)
    assert app.text_input(key="key_entry").proto.type == app.text_input(key="key_entry").proto.PASSWORD


def test_answers_of_two_versions_are_not_combined(connected: FakeService, image: bytes) -> None:
    """A version may change while images are asked about."""
    identity = ModelIdentity(name="m", version="9", backbone="new", bundle_digest="9" * 64)
    connected.first = [to_json(make_prediction(model=identity, request_id="req-0002"))]
    app = upload(open_app(), ("a.png", image), ("b.png", image))

    assert "not combined: 3, 9" in text(app)
    assert "All images together" not in text(app)


def test_a_missing_file_of_the_server_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a machine where nothing was started."""
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    monkeypatch.setenv("LESION_HOME", str(tmp_path))

    assert "The app is not connected to a prediction service" in text(open_app("help"))
