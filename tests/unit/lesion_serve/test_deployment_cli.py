"""What the commands say that change what serves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lesion_core.workspace import Workspace
from lesion_serve import deployment_cli
from lesion_serve.deployment import Deployment, with_challenger, with_champion
from lesion_serve.deployment_store import DeploymentStore, Report
from lesion_serve.engine.engine import ModelLoadError
from support.deployments import deployed

PORT = 9000


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DeploymentStore]:
    """Champion 2 after champion 1, with challenger 3, and a server that says only what a test lets it say."""
    monkeypatch.setenv("LESION_HOME", str(tmp_path))
    store = DeploymentStore.of(Workspace(tmp_path), PORT)
    champions = with_champion(with_champion(None, deployed("1")), deployed("2"))
    store.change("test", lambda _: with_challenger(champions, deployed("3"), share_percent=5, shadow=False))
    with store.served():
        yield store


def report(store: DeploymentStore, default: str, **more: object) -> None:
    """What the server says of the change that comes next."""
    loaded = {"generation": 2, "default": default, "loaded": ("1", "2"), "findings": {}, **more}
    store.write_report(Report(**loaded))  # type: ignore[arg-type]


def champion(store: DeploymentStore) -> str:
    """Who shall answer."""
    deployment: Deployment | None = store.read()
    assert deployment is not None
    return deployment.champion.version


def test_a_rollback_that_the_server_did_not_follow_is_an_error_and_taken_back(
    store: DeploymentStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the server's reason, and who answers now."""
    report(store, "2", findings={"1": "Its disk is gone."})

    with pytest.raises(ModelLoadError, match=r"goes on with version 2\..* Version 1: Its disk is gone"):
        deployment_cli.rollback(port=PORT)

    assert champion(store) == "2"
    assert "follows" not in capsys.readouterr().out


def test_a_rollback_waits_for_nothing_but_its_champion(
    store: DeploymentStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """The challenger may still be loading."""
    report(store, "1", pending=("3",))

    deployment_cli.rollback(port=PORT)

    assert champion(store) == "1"
    assert "The server follows it." in capsys.readouterr().out


def test_what_else_is_not_loaded_is_told_and_keeps_nobody_from_a_rollback(
    store: DeploymentStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """The change has happened."""
    report(store, "1", findings={"3": "It is broken."})

    deployment_cli.rollback(port=PORT)

    assert champion(store) == "1"
    assert "Not loaded: version 3: It is broken." in capsys.readouterr().out


def test_a_change_that_came_after_ours_is_not_judged_by_it(
    store: DeploymentStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor taken back."""
    report(store, "2", generation=3)

    deployment_cli.rollback(port=PORT)

    assert champion(store) == "1"
    assert "another change" in capsys.readouterr().out
