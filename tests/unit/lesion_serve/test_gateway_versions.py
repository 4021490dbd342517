"""Versions through the gateway: what is deployed, how good it is, and who may change it."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import httpx
import pytest

from lesion_core.bundle import EVALUATION, Bundle, write_bundle
from lesion_core.monitoring import MonitoringReport
from lesion_core.service import Versions, from_json
from lesion_core.workspace import Workspace
from lesion_serve.archive import build_archive
from lesion_serve.deploy import Challenging, deploy
from lesion_serve.deployment import Deployment
from lesion_serve.deployment_store import DeploymentStore, Report
from lesion_serve.gateway.keys import Role
from support.archives import altered
from support.bundles import make_tiny_bundle
from support.gateways import JPEG, GatewayUnderTest, deployed, problem_of

MEASURED = {"headline": {"bma": None}}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """One that holds an evaluation."""
    folder = tmp_path_factory.mktemp("made")
    plain = make_tiny_bundle(folder / "plain")
    files = {name: plain.read(name) for name in plain.manifest.files}
    return write_bundle(
        folder / "bundle", attrs.evolve(plain.manifest, files={}), {**files, EVALUATION: json.dumps(MEASURED).encode()}
    )


class Served:
    """A gateway whose deployment has versions 1 (before), 2 (champion) and 3 (challenger in the shadow)."""

    def __init__(self, folder: Path, bundle: Bundle) -> None:
        self.gateway = GatewayUnderTest(folder, with_keys=True)
        self.gateway.engine.loaded = ("2", "3")
        workspace = Workspace(folder / "home")
        for version, challenging in (("1", None), ("2", None), ("3", Challenging(shadow=True))):
            archive = build_archive(bundle.folder, folder / f"{version}.mar", version=version)
            deploy(self.gateway.deployments, str(archive.path), workspace=workspace, challenging=challenging)
        self.keys = {role: self.gateway.keys.create(role.value, role) for role in Role}

    def send(self, method: str, path: str, *, role: Role = Role.ENGINEER, **request: object) -> httpx.Response:
        """A request with a key of a role."""
        return self.gateway.send(method, path, headers={"Authorization": f"Bearer {self.keys[role]}"}, **request)

    def versions(self) -> Versions:
        """What is deployed."""
        return from_json(self.send("GET", "/v1/versions").content, Versions)

    def change(self, **said: object) -> httpx.Response:
        """Ask for a change."""
        return self.send("POST", "/v1/deployment", json=said)


@pytest.fixture
def served(tmp_path: Path, bundle: Bundle) -> Served:
    return Served(tmp_path, bundle)


def test_versions_are_listed_with_their_place(served: Served, bundle: Bundle) -> None:
    """The champion first; what each was measured with; what is loaded of it."""
    found = served.versions()

    assert [(one.version, one.place, one.is_shadow) for one in found.versions] == [
        ("2", "champion", False),
        ("3", "challenger", True),
        ("1", "previous", False),
    ]
    assert [one.ready_workers for one in found.versions] == [1, 1, 0]
    assert all(one.has_evaluation and one.bundle_digest == bundle.digest for one in found.versions)
    assert found.versions[0].metrics == bundle.manifest.training.metrics
    assert [(one.action, one.after) for one in found.history] == [("challenge", "3"), ("deploy", "2"), ("deploy", "1")]


def test_card_and_evaluation_are_the_bundle_s_own(served: Served) -> None:
    """As training wrote them."""
    assert served.send("GET", "/v1/versions/2/card").text.startswith("#")
    assert served.send("GET", "/v1/versions/2/evaluation").json() == MEASURED


def test_what_is_told_of_a_version_does_not_cost_its_whole_archive(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of megabytes for each request; what is told is checked by the digest of the bundle."""
    monkeypatch.setattr(DeploymentStore, "archive_of", lambda *_: pytest.fail("the whole archive was read"))
    for path in ("card", "evaluation"):
        assert served.send("GET", f"/v1/versions/2/{path}").status_code == 200

    champion = served.gateway.deployments.read()
    assert champion is not None
    kept = served.gateway.deployments.path_of(champion.champion)
    altered(kept, kept.with_name("altered"), "bundle/bundle.json", b'"dataset": "', b'"dataset": "not ').path.replace(
        kept
    )
    for path in ("card", "evaluation"):
        assert served.send("GET", f"/v1/versions/2/{path}").status_code == 500


@pytest.mark.parametrize("path", ["card", "evaluation"])
def test_a_version_that_is_not_deployed_is_named(served: Served, path: str) -> None:
    """404, and which there are."""
    answer = served.send("GET", f"/v1/versions/9/{path}")

    assert answer.status_code == 404
    assert "Deployed: 2, 3, 1" in answer.json()["detail"]


def test_an_engineer_promotes_and_goes_back_and_the_history_says_who_and_why(served: Served) -> None:
    """The challenger becomes champion; a rollback undoes it."""
    promoted = from_json(served.change(action="promote", version="3", why="better on head and neck").content, Versions)
    back = from_json(served.change(action="rollback", why="worse in winter").content, Versions)

    assert promoted.versions[0].version == "3"
    assert back.versions[0].version == "2"
    newest = back.history[:2]
    assert [(one.action, one.before, one.after, one.why) for one in newest] == [
        ("rollback", "3", "2", "worse in winter"),
        ("promote", "2", "3", "better on head and neck"),
    ]
    key_id = served.keys[Role.ENGINEER].split("_")[1]
    assert {one.by for one in newest} == {f"key {key_id}"}


def test_the_report_is_of_the_champion_whoever_answered_last(served: Served) -> None:
    """A challenger with a share would make it jump from one version to the other."""
    for version in ("2", "2", "3"):
        served.gateway.deployment = Deployment(generation=1, champion=deployed(version))
        answer = served.gateway.ask(headers={**JPEG, "Authorization": f"Bearer {served.keys[Role.CLINICIAN]}"})
        assert answer.json()["model"]["version"] == version

    report = from_json(served.send("GET", "/v1/monitoring").content, MonitoringReport)

    assert (report.model_version, report.predictions) == ("2", 2)


@pytest.mark.parametrize("role", [Role.CLINICIAN, Role.AUDITOR])
def test_others_change_nothing(served: Served, role: Role) -> None:
    """403, and all is as it was."""
    answer = served.send("POST", "/v1/deployment", role=role, json={"action": "rollback"})

    assert answer.status_code == 403
    assert served.versions().versions[0].version == "2"


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({}, 422),
        ({"action": "explode"}, 422),
        ({"action": "promote"}, 422),
        ({"action": "promote", "version": "9"}, 404),
        ({"action": "rollback", "version": "1"}, 422),
        ({"action": "rollback", "mood": "good"}, 422),
        ({"action": "rollback", "why": "x" * 501}, 422),
    ],
)
def test_a_change_that_is_none_is_refused(served: Served, said: dict[str, object], status: int) -> None:
    """With a sentence; nothing has changed."""
    answer = served.change(**said)

    assert answer.status_code == status, answer.text
    assert answer.json()["detail"]
    assert served.versions().versions[0].version == "2"


def test_without_a_champion_before_there_is_no_way_back(tmp_path: Path, bundle: Bundle) -> None:
    """409, and why."""
    gateway = GatewayUnderTest(tmp_path, with_keys=True)
    deploy(gateway.deployments, str(bundle.folder), workspace=Workspace(tmp_path / "home"))
    headers = {"Authorization": f"Bearer {gateway.keys.create('engineer', Role.ENGINEER)}"}

    answer = gateway.send("POST", "/v1/deployment", headers=headers, json={"action": "rollback"})

    assert (answer.status_code, answer.json()["code"]) == (409, "nothing_before")


def test_a_change_that_the_server_cannot_follow_is_refused_and_undone(served: Served) -> None:
    """409 with the server's reason; or the next start would fail with the version that does not load."""
    store = served.gateway.deployments
    with store.served():
        store.write_report(Report(generation=4, default="2", loaded=("1", "2"), findings={"3": "It is altered."}))
        answer = served.change(action="promote", version="3")

    told = problem_of(answer)
    assert (answer.status_code, told["code"]) == (409, "model_did_not_load")
    assert "goes on with version 2. Version 3: It is altered." in str(told["detail"])
    found = served.versions()
    assert [(one.version, one.place) for one in found.versions[:2]] == [("2", "champion"), ("3", "challenger")]
    assert [(one.action, one.before, one.after) for one in found.history[:2]] == [
        ("failed", "3", "2"),
        ("promote", "2", "3"),
    ]
    assert found.history[0].by == found.history[1].by


def test_what_else_is_not_loaded_keeps_nobody_from_a_rollback(served: Served) -> None:
    """Only the new champion has to answer; what is wrong with another version stands beside it."""
    store = served.gateway.deployments
    with store.served():
        store.write_report(Report(generation=4, default="1", loaded=("1", "2"), findings={"3": "It is altered."}))
        changed = from_json(served.change(action="rollback").content, Versions)

    assert changed.versions[0].version == "1"
    assert {one.version: one.finding for one in changed.versions} == {"1": None, "2": None, "3": "It is altered."}


def test_before_anything_is_deployed_there_are_no_versions(tmp_path: Path) -> None:
    """503: come again."""
    assert GatewayUnderTest(tmp_path).send("GET", "/v1/versions").status_code == 503
