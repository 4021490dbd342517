"""Real MLflow servers that go away and come back, hang, are used by many at once, or keep their data in PostgreSQL."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from mlflow.tracking import MlflowClient

from lesion_core.bundle import Bundle
from lesion_core.errors import LesionError
from lesion_core.processes import child_environment, free_port
from lesion_core.workspace import Workspace
from lesion_train.mlflow_server import start_mlflow
from lesion_train.promotion_log import PromotionLog
from lesion_train.record import RunRecord
from lesion_train.tracking import BackgroundMirror, Mirror, TrackingError, register
from support.bundles import make_tiny_bundle
from support.postgres import private_postgres
from support.runs import add_bundle, add_rows, make_run

PASSWORD = "hunter2/@x"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


@contextmanager
def server(workspace: Workspace, port: int, **options: str) -> Iterator[MlflowClient]:
    started = start_mlflow(workspace, port, **options)
    uri = f"http://127.0.0.1:{port}"
    try:
        yield MlflowClient(tracking_uri=uri, registry_uri=uri)
    finally:
        started.stop()


def rows_at(client: MlflowClient, run_id: str) -> list[tuple[str, int, str]]:
    """All rows of a run without their times, which two runs do not share."""
    names = client.get_run(run_id).data.metrics
    history = [row for name in names for row in client.get_metric_history(run_id, name)]
    return sorted((row.key, row.step, repr(row.value)) for row in history)


def own_rows(record: RunRecord) -> int:
    final = 3 if record.bundle.is_dir() else 0
    lines = [*record.epochs, *record.steps, *record.system]
    return sum(len(line) - 2 for line in lines) + final


def test_a_server_that_goes_away_and_comes_back_ends_up_with_every_row_once(tmp_path: Path, tiny: Bundle) -> None:
    """Down at the start, killed in the middle, down at the end: the same rows as of a run that nothing interrupted."""
    workspace, port = Workspace(tmp_path), free_port()
    uri = f"http://127.0.0.1:{port}"
    calm, troubled = (make_run(workspace.runs, epochs=0, steps=0) for _ in range(2))
    mirror = Mirror(troubled, uri, workspace)

    def train(epoch: int) -> None:
        for record in (calm, troubled):
            add_rows(record, epochs=[epoch], steps=range(10 * epoch, 10 * epoch + 10))

    train(1)
    with pytest.raises(TrackingError, match="lesion-train sync"):
        mirror.sync_rows()
    first = start_mlflow(workspace, port)
    try:
        train(2)
        assert mirror.sync_rows().metrics == own_rows(troubled)
        train(3)
        for process in psutil.Process(first._process.pid).children(recursive=True):
            process.kill()  # in the middle of anything
    finally:
        first.stop()
    wait_until_nothing_answers(port)
    with pytest.raises(TrackingError):
        mirror.sync_rows()
    with server(workspace, port):
        train(4)
        mirror.sync_rows()
    for record, seed in ((calm, 1), (troubled, 2)):
        train_end(record, tiny, seed)
    with pytest.raises(TrackingError, match=f"lesion-train sync {troubled.folder}"):
        register(mirror, "skin-lesion")

    with server(workspace, port) as client:
        done = subprocess.run(
            [sys.executable, "-m", "lesion_train", "sync", "--all", "--tracking-uri", uri],
            env=child_environment({"LESION_HOME": str(workspace.root)}),
            capture_output=True,
            text=True,
            check=True,
        )
        assert "rows of metrics" in done.stdout
        calm_id, nothing = Mirror(calm, uri, workspace).sync()
        assert str(nothing) == "nothing was missing"
        troubled_id, nothing = Mirror(troubled, uri, workspace).sync()
        assert str(nothing) == "nothing was missing"
        assert rows_at(client, troubled_id) == rows_at(client, calm_id)
        assert len(rows_at(client, calm_id)) == own_rows(calm)
        assert client.get_run(troubled_id).data.params == client.get_run(calm_id).data.params
        assert client.get_run(troubled_id).info.status == "FINISHED"


def train_end(record: RunRecord, tiny: Bundle, seed: int) -> None:
    add_bundle(record, tiny, seed=seed)
    record.finish()


def wait_until_nothing_answers(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"something still answers on {port}")


def test_a_server_that_accepts_and_never_answers_stalls_nothing(tmp_path: Path) -> None:
    """Training goes on while the request hangs, and what was not sent is in the record."""
    record = make_run(tmp_path, epochs=0, steps=0)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        accepted: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    accepted.append(listener.accept()[0])
                except OSError:
                    return

        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        uri = f"http://127.0.0.1:{listener.getsockname()[1]}"
        background = BackgroundMirror(Mirror(record, uri, Workspace(tmp_path / "home")))
        background.notify()
        while not accepted:
            time.sleep(0.01)

        add_rows(record, epochs=range(1, 200))
        for _ in range(200):
            background.notify()
        is_hanging = not background._idle.is_set()
        with pytest.raises(TrackingError, match="has not answered"):
            background.register("skin-lesion", timeout_s=0.1)

        assert is_hanging
        assert len(record.epochs) == 199
        listener.shutdown(socket.SHUT_RDWR)
        for connection in accepted:
            connection.close()
    assert background._idle.wait(60)


REGISTER = """
import sys
from pathlib import Path
from lesion_core.workspace import Workspace
from lesion_train.record import RunRecord
from lesion_train.tracking import Mirror, register

root, folder, uri = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
made = register(Mirror(RunRecord(Path(folder)), uri, Workspace(Path(root))), "skin-lesion")
print(made.version, *made.aliases, flush=True)
"""


@pytest.mark.parametrize("kind", ["database", "server"])
def test_eight_trainers_at_once_give_eight_versions_one_champion_and_the_newest_as_challenger(
    tmp_path: Path, tiny: Bundle, kind: str
) -> None:
    """Processes that start together, on one SQLite file and through one server."""
    workspace, port = Workspace(tmp_path), free_port()
    records = [make_run(workspace.runs, steps=2) for _ in range(8)]
    for seed, record in enumerate(records):
        add_bundle(record, tiny, seed=seed)
    started = start_mlflow(workspace, port) if kind == "server" else None
    uri = f"http://127.0.0.1:{port}" if kind == "server" else workspace.mlflow_database
    try:
        trainers = [
            subprocess.Popen(
                [sys.executable, "-c", REGISTER, str(workspace.root), str(record.folder), uri],
                env=child_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for record in records
        ]
        for trainer in trainers:
            assert trainer.stdout is not None
            assert trainer.stdout.readline() == "ready\n"
        outcomes = []
        for trainer in trainers:
            assert trainer.stdin is not None
            trainer.stdin.write("\n")
            trainer.stdin.flush()
        for trainer in trainers:
            said, errors = trainer.communicate(timeout=400)
            assert trainer.returncode == 0, errors
            outcomes.append(said.split())
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)

        assert sorted(int(outcome[0]) for outcome in outcomes) == list(range(1, 9))
        firsts = [outcome for outcome in outcomes if "champion" in outcome]
        assert len(firsts) == 1
        aliases = client.get_registered_model("skin-lesion").aliases
        assert {name: str(version) for name, version in aliases.items()} == {
            "champion": firsts[0][0],
            "challenger": "8",
        }
        digests = {v.tags["bundle_digest"] for v in client.search_model_versions("name = 'skin-lesion'")}
        assert len(digests) == 8
        rows = PromotionLog(workspace.root / "promotions.db").changes("skin-lesion")
        assert [(row.to_version, row.outcome) for row in rows] == [(firsts[0][0], "done")]
    finally:
        if started is not None:
            started.stop()


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """Address of a private PostgreSQL on loopback, with a password that needs encoding; it ends with the test."""
    with private_postgres(PASSWORD) as address:
        yield address


def command_lines() -> str:
    """The command lines of all processes, as any user of the machine sees them."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().decode(errors="replace"))
        except OSError:
            continue  # it has ended
    return "\n".join(lines)


def test_a_server_on_postgresql_takes_a_run_and_shows_its_password_nowhere(
    tmp_path: Path, tiny: Bundle, postgres: str
) -> None:
    """Rows, version and aliases; neither the log nor a command line has the password."""
    workspace, port = Workspace(tmp_path), free_port()
    record = make_run(workspace.runs)
    add_bundle(record, tiny)
    record.finish()
    uri = f"http://127.0.0.1:{port}"

    with server(workspace, port, backend_store_uri=postgres, artifact_root=str(tmp_path / "artefacts")) as client:
        made = register(Mirror(record, uri, workspace), "skin-lesion")
        run_id, nothing = Mirror(record, uri, workspace).sync()
        assert len(rows_at(client, run_id)) == own_rows(record)
        assert str(nothing) == "nothing was missing"
        assert made.aliases == ("challenger", "champion")
        assert client.get_run(run_id).info.artifact_uri.startswith((tmp_path / "artefacts").as_uri())
        seen = command_lines()

    assert "mlflow" in seen
    log = (workspace.root / "mlflow-server.log").read_text()
    for secret in ("hunter2", PASSWORD):
        assert secret not in seen
        assert secret not in log


def test_a_database_that_refuses_is_named_without_its_password(tmp_path: Path, postgres: str) -> None:
    """By the server that cannot start, and by a client that goes there directly."""
    wrong = postgres.replace("hunter2", "guessed3")

    with pytest.raises(LesionError) as at_server:
        start_mlflow(Workspace(tmp_path), free_port(), backend_store_uri=wrong)
    with pytest.raises(TrackingError) as at_client:
        Mirror(make_run(tmp_path / "runs"), wrong, Workspace(tmp_path)).sync()

    for error in (at_server.value, at_client.value):
        assert "guessed3" not in error.message
        assert "authentication failed" in error.message
