"""Signing in and the end of a session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lesion_core.errors import LesionError
from lesion_core.workspace import Endpoint, Workspace
from lesion_ui import session
from lesion_ui.app import entries_for
from lesion_ui.client import TOKEN_VARIABLE, GatewayClient
from support.app_pages import field, go_to, open_app, text, upload
from support.fake_service import TOKEN, FakeService
from support.kept import CLINICIAN, EVERYTHING, make_caller


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Job:
    """Stands for a batch."""

    is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


def test_a_session_that_nobody_uses_forgets_everything_but_the_language() -> None:
    """Not a moment sooner; a batch ends with it."""
    clock, job = Clock(), Job()
    state: dict[Any, Any] = {"api_key": "secret", "assessment": {}, "language": "de", "batch": job}
    session.touch(state, clock)
    clock.now += 15 * 60
    assert not session.has_ended(state, minutes=15, clock=clock)

    clock.now += 1
    assert session.has_ended(state, minutes=15, clock=clock)
    assert state == {"language": "de", "ended": "idle"}
    assert job.is_cancelled


def test_another_key_ends_what_was_begun_with_the_one_before() -> None:
    """Its batch would go on asking in the other's name; a draft or an image would be sent in it."""
    clock, job = Clock(), Job()
    state: dict[Any, Any] = {"api_key": "old", "batch": job, "visit": 1, "language": "de"}
    state |= dict.fromkeys(("assessment", "drafts", "similar", "caller", "has_consented", "history_export", "image"))

    session.go_on_with(state, "new", clock)

    assert job.is_cancelled
    assert state == {"api_key": "new", "ended": "other_key", "language": "de", "seen_at": clock.now}


def test_a_first_key_ends_nothing() -> None:
    """There is nobody before whom it comes."""
    state: dict[Any, Any] = {"key_entry": "x"}
    session.go_on_with(state, "new", Clock())

    assert state == {"api_key": "new", "seen_at": 1000.0}


def test_a_key_that_nobody_goes_on_with_is_forgotten() -> None:
    """As in a session that was begun."""
    clock = Clock()
    state: dict[Any, Any] = {"visit": 1}
    session.go_on_with(state, "new", clock)
    clock.now += 15 * 60 + 1

    assert session.has_ended(state, minutes=15, clock=clock)
    assert state == {"ended": "idle"}


def test_a_second_user_with_the_same_role_sees_nothing_of_the_first(connected: FakeService, image: bytes) -> None:
    """Not the image and its answer, nor the draft, the patient, the opened record and the list."""
    app = upload(open_app(), ("first.png", image))
    field(app.text_input, "subject").set_value("P-1").run()
    app.session_state["open_record"] = "req-0005"
    field(go_to(app, "record").text_area, "feedback_comment").set_value("of the first").run()
    go_to(app, "history").button(key="collect").click().run()
    app.text_input(key="sidebar_key").set_value(TOKEN)
    app.button(key="FormSubmitter:sidebar_key_form-Sign in").click().run()

    assert "You are signed in with another key." in text(app)
    assert not [*app.file_uploader, *app.dataframe, *app.text_area]
    app.button(key="begin").click().run()
    assert "Before you begin" in text(go_to(app, "assess"))
    app.button(key="consent").click().run()
    assert "Choose an image to begin." in text(app)
    assert field(app.text_input, "subject").value == ""
    assert "Choose an answer to judge" in text(go_to(app, "record"))
    go_to(app, "history")
    assert not any("Download" in button.proto.label for button in app.get("download_button"))
    app.session_state["open_record"] = "req-0005"
    assert field(go_to(app, "record").text_area, "feedback_comment").value == ""


@pytest.mark.parametrize(("given", "minutes"), [(None, 15), ("5", 5), ("0.5", 0.5), ("-1", 15), ("soon", 15)])
def test_the_minutes_come_from_the_environment(given: str | None, minutes: float) -> None:
    """Nonsense is the default, not an endless session."""

    assert session.idle_minutes({} if given is None else {session.IDLE_VARIABLE: given}) == minutes


def test_who_asks_is_asked_again_only_after_a_while(service: FakeService) -> None:
    """Every page needs it; a revoked key is noticed all the same."""
    clock, client = Clock(), GatewayClient(service.endpoint)
    state: dict[Any, Any] = {}
    for _ in range(3):
        session.caller(state, client, clock)
    assert len(service.asked) == 1

    clock.now += session.CALLER_S
    session.caller(state, client, clock)
    assert len(service.asked) == 2


def test_an_app_that_is_set_to_it_lets_everybody_sign_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the token of the machine lies there."""
    monkeypatch.setenv("LESION_HOME", str(tmp_path))
    Endpoint(url="http://127.0.0.1:1/v1/predictions", token="local").save(Workspace(tmp_path).endpoint)
    environment = {session.SIGN_IN_VARIABLE: "1"}
    with pytest.raises(LesionError) as caught:
        session.connect({}, environment)

    assert caught.value.code == "no_key"
    assert session.connect({session.KEY: "mine"}, environment).endpoint.token == "mine"
    assert session.connect({}, {}).endpoint.token == "local"


@pytest.mark.parametrize(
    ("permissions", "names"),
    [
        (CLINICIAN, ("assess", "record", "history", "batch", "models", "help")),
        (("read_own", "read_all"), ("record", "history", "help")),
        (EVERYTHING, ("assess", "record", "history", "batch", "monitor", "models", "help")),
        ((), ("help",)),
    ],
)
def test_a_role_has_the_pages_that_it_may_use(permissions: tuple[str, ...], names: tuple[str, ...]) -> None:
    """And no other."""

    assert tuple(one.name for one in entries_for(make_caller(permissions))) == names


def sign_in(app: Any, key: str) -> Any:
    app.text_input(key="key_entry").set_value(key)
    app.button(key="FormSubmitter:key_entry_form-Sign in").click()
    return app.run()


def test_a_key_is_entered_checked_and_forgotten_on_signing_out(
    connected: FakeService, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong one is refused; neither is in the log."""
    monkeypatch.delenv(TOKEN_VARIABLE)
    app = open_app()
    assert "Sign in" in text(app)
    assert "The key was not accepted" in text(sign_in(app, "wrong-key"))

    sign_in(app, TOKEN)
    assert "Signed in: Ward 3 (engineer)" in text(app)
    app.button(key="sign_out").click().run()
    assert "You are signed out." in text(app)
    assert "api_key" not in app.session_state
    assert not any(TOKEN in str(app.session_state[name]) for name in ("language", "ended"))
    app.button(key="begin").click().run()
    assert len(app.text_input) == 1
    assert not app.query_params
    logged = capsys.readouterr()
    assert TOKEN not in logged.out + logged.err
    assert "wrong-key" not in logged.out + logged.err


def test_an_idle_session_shows_no_image_any_more(
    connected: FakeService, image: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only that it has ended, and how to begin anew."""
    app = upload(open_app(), ("a.png", image))
    app.session_state["seen_at"] -= 16 * 60
    app.run()

    assert "Your session has ended" in text(app)
    assert "Melanoma" not in text(app)
    app.button(key="begin").click().run()
    assert "Before you begin" in text(app)


def test_the_language_is_chosen_on_the_page(connected: FakeService) -> None:
    """At once, for everything."""
    app = open_app()
    app.selectbox(key="language_choice").set_value("de").run()

    assert "Läsion beurteilen" in text(app)
