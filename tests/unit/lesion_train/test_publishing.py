"""What happens to a finished run where MLflow, or what is beside it, does not do its part."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from lesion_core.bundle import Bundle
from lesion_core.errors import LesionError
from lesion_core.processes import ChildProcess
from lesion_core.workspace import Workspace
from lesion_train import cli, mlflow_server
from lesion_train.ending import published
from lesion_train.tracking import BackgroundMirror, Mirror, TrackingError, register
from lesion_train.tracking.client import EXPERIMENT
from support.runs import add_bundle, make_contender, make_run


def test_a_promotion_log_that_cannot_be_read_costs_no_finished_run(
    workspace: Workspace, tiny: Bundle, tmp_path: Path
) -> None:
    """It is not registered, and the run goes on to print its scores."""
    record = make_contender(tmp_path, tiny, skill=0.6)
    other = Workspace(tmp_path / "other")
    other.root.mkdir()
    other.promotions.write_bytes(b"damaged" * 100)

    assert published(BackgroundMirror(Mirror(record, workspace.mlflow_database, other)), register=True) is None


@pytest.mark.parametrize("lost", ["model/bundle/card.md", "model/MLmodel", "predictions/test.csv"])
def test_what_got_lost_at_the_server_is_sent_again(workspace: Workspace, tiny: Bundle, lost: str) -> None:
    """Although a tag there says that all has arrived; then again nothing is missing."""
    record = make_contender(workspace.runs, tiny, skill=0.6)
    mirror = Mirror(record, workspace.mlflow_database, workspace)
    mirror.sync()
    run_id, nothing = mirror.sync()
    client = MlflowClient(tracking_uri=workspace.mlflow_database)
    path = Path(str(client.get_run(run_id).info.artifact_uri).removeprefix("file://")) / lost
    path.unlink()

    _, sent = mirror.sync()

    assert nothing.files == 0
    assert path.is_file()
    assert sent.files == (2 if lost == "model/MLmodel" else 1)  # the description is two files
    assert mirror.sync()[1].files == 0


def test_a_deleted_experiment_is_named_with_the_command_that_restores_it(workspace: Workspace) -> None:
    """MLflow's command takes its number."""
    mirror = Mirror(make_run(workspace.runs, steps=1), workspace.mlflow_database, workspace)
    mirror.sync()
    client = MlflowClient(tracking_uri=workspace.mlflow_database)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    number = experiment.experiment_id
    client.delete_experiment(number)

    with pytest.raises(TrackingError, match=f"mlflow experiments restore --experiment-id {number}'"):
        mirror.sync()
    client.restore_experiment(number)


def test_a_workspace_s_name_may_have_what_addresses_use(tiny: Bundle, tmp_path: Path) -> None:
    """A per cent sign and digits after it are not a blank, and a question mark begins no options."""
    odd = Workspace(tmp_path / "a%20b c?d#e ü")
    record = make_run(odd.runs, steps=1)
    add_bundle(record, tiny)

    made = register(Mirror(record, odd.mlflow_database, odd), "skin-lesion")

    assert made.aliases == ("challenger", "champion")
    assert odd.mlflow_file.is_file()


@pytest.fixture
def own_signals() -> Iterator[None]:
    """The command takes SIGTERM for its program."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("own_signals")
def test_a_server_that_dies_is_no_clean_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command says so, with the end of its log, and without the password in it."""
    dying = [sys.executable, "-c", "print('postgresql://me:hunter2@db/x is gone'); raise SystemExit(3)"]
    log_path = tmp_path / "mlflow-server.log"
    monkeypatch.setattr(
        mlflow_server, "start_mlflow", lambda *_, **__: ChildProcess.start("MLflow", dying, log_path=log_path)
    )

    with pytest.raises(LesionError, match="ended with exit code 3") as caught:
        cli.mlflow()

    assert "is gone" in caught.value.message
    assert "hunter2" not in caught.value.message
