"""Every route that the app asks, asked by its own client of the gateway as a program."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import pytest

from lesion_core.bundle import CARD, Bundle
from lesion_core.processes import free_port
from lesion_core.workspace import Workspace
from lesion_serve.archive import build_archive
from lesion_serve.gateway.keys import ApiKeys, Role
from lesion_serve.gateway.settings import keys_file
from lesion_ui.client import GatewayClient
from lesion_ui.evaluation_view import evaluation_view
from lesion_ui.refusals import ServiceError
from lesion_ui.texts import texts_for
from support.bundles import make_tiny_bundle
from support.evaluated import evaluated
from support.gateway_programs import GatewayProgram, run_command, running_gateway
from support.images import encoded_lesion


@attrs.frozen
class Ward:
    """A gateway that serves version 2 and has served 1, and a client for a key of each role."""

    gateway: GatewayProgram
    bundle: Bundle

    def client(self, role: Role) -> GatewayClient:
        """With a new key."""
        keys = ApiKeys(keys_file(Workspace(self.gateway.home)))
        name = f"{role.value} {len(keys.all())}"
        return GatewayClient(attrs.evolve(self.gateway.endpoint, token=keys.create(name, role)))


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    home = tmp_path_factory.mktemp("home")
    bundle = evaluated(make_tiny_bundle(home / "plain"), home / "bundle")
    first, second = (build_archive(bundle.folder, home / f"{one}.mar", version=one).path for one in "12")
    port = free_port()
    with running_gateway(home, first, port) as gateway:
        deployed = run_command(home, "deploy", str(second), "--port", str(port))
        assert deployed.returncode == 0, deployed.stderr
        yield Ward(gateway, bundle)


def test_before_the_first_answer_everything_is_empty_and_nothing_fails(ward: Ward) -> None:
    """A list without lines and no report; who asks and what serves is known."""
    client = ward.client(Role.CLINICIAN)

    assert client.caller().role == "clinician"
    assert client.predictions().items == ()
    assert client.monitoring(30) is None
    assert client.label().model_version == "2"


def test_a_clinician_finds_what_was_asked_and_judged(ward: Ward) -> None:
    """Answer, feedback, list, record, report: each holds what the one before has said."""
    client = ward.client(Role.CLINICIAN)
    answer = client.predict(encoded_lesion(), metadata={"age_approx": 55}, heat_map=True, subject="P-1")
    other = client.predict(encoded_lesion())
    judged = client.give_feedback(
        answer.request_id, verdict="agree", diagnosis=None, comment="as seen", is_histology=True
    )
    lines = client.predictions(subject="P-1", limit=5).items
    first = client.predictions(limit=1)
    report = client.monitoring(7)
    record = client.record(answer.request_id)

    assert [one.request_id for one in lines] == [answer.request_id]
    assert (lines[0].top, lines[0].review, lines[0].diagnosis) == (answer.top.code, "agree", answer.top.code)
    assert [one.request_id for one in first.items] == [other.request_id]
    assert [one.request_id for one in client.predictions(limit=1, cursor=first.next).items] == [answer.request_id]
    assert record.prediction == attrs.evolve(answer, heat_map=None)
    assert record.feedback == (judged,)
    assert report is not None
    assert (report.predictions, report.feedback.histology) == (2, 1)


def test_a_version_shows_card_and_evaluation_of_its_bundle(ward: Ward) -> None:
    """As its page reads them."""
    client = ward.client(Role.CLINICIAN)
    champion = client.versions().versions[0]
    view = evaluation_view(client.evaluation(champion.version), texts_for("en"))

    assert champion.has_evaluation
    assert client.card(champion.version) == ward.bundle.read(CARD).decode()
    assert view.measured_on is not None
    assert view.bins
    assert view.confusion


def test_an_engineer_goes_back_and_forth_between_two_versions(ward: Ward) -> None:
    """What answers changes with it; who and why stays in the history."""
    client = ward.client(Role.ENGINEER)
    back = client.roll_back(why="worse in winter")
    answered_by = client.predict(encoded_lesion()).model.version
    forth = client.promote("2", why="it was the camera")

    assert (back.versions[0].version, answered_by, forth.versions[0].version) == ("1", "1", "2")
    assert [(one.action, one.after, one.why) for one in forth.history[:2]] == [
        ("promote", "2", "it was the camera"),
        ("rollback", "1", "worse in winter"),
    ]
    assert {one.by for one in forth.history[:2]} == {f"key {client.caller().key_id}"}


def test_what_is_refused_has_a_name_of_the_app(ward: Ward) -> None:
    """By role, by key, by what there is."""
    clinician, engineer = ward.client(Role.CLINICIAN), ward.client(Role.ENGINEER)
    stranger = GatewayClient(attrs.evolve(ward.gateway.endpoint, token="lesion_of_nobody"))
    auditor = ward.client(Role.AUDITOR)
    refused = {
        "forbidden": (lambda: clinician.roll_back(why=""), lambda: auditor.predict(encoded_lesion())),
        "refused": (stranger.caller, stranger.label),
        "not_found": (
            lambda: engineer.promote("9", why=""),
            lambda: engineer.card("9"),
            lambda: engineer.evaluation("9"),
            lambda: engineer.record("not-asked"),
        ),
        "rejected": (lambda: clinician.predict(b"no image"), lambda: clinician.predictions(cursor="of nowhere")),
    }
    for code, calls in refused.items():
        for call in calls:
            with pytest.raises(ServiceError) as caught:
                call()
            assert caught.value.code == code, caught.value.message
