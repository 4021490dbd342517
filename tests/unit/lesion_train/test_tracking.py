"""MLflow as a mirror of the record, with a real database."""

from __future__ import annotations

import _thread
import tempfile
import threading
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from lesion_core.bundle import Bundle
from lesion_core.workspace import Workspace
from lesion_train.cli import main
from lesion_train.record import RunRecord
from lesion_train.tracking import BackgroundMirror, Mirror, SystemSampler, TrackingError, register
from lesion_train.tracking.client import EXPERIMENT
from support.runs import FACTS, add_bundle, add_rows, images, make_run, predictions


def mirror(record: RunRecord, workspace: Workspace) -> Mirror:
    return Mirror(record, workspace.mlflow_database, workspace)


def rows_at_server(client: MlflowClient, run_id: str) -> list[tuple[str, int, int, str]]:
    names = client.get_run(run_id).data.metrics
    history = [row for name in names for row in client.get_metric_history(run_id, name)]
    return sorted((row.key, row.timestamp, row.step, repr(row.value)) for row in history)


def runs_of(record: RunRecord, client: MlflowClient) -> list[Run]:
    """The runs at the server that nobody deleted."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    wanted = f"tags.`lesion.record_id` = '{record.id}'"
    return list(client.search_runs([experiment.experiment_id], wanted, run_view_type=ViewType.ACTIVE_ONLY))


def test_the_server_says_whether_a_run_goes_on(workspace: Workspace) -> None:
    """Interrupted, gone on with, killed without a word, and finished."""
    record = make_run(workspace.runs, epochs=1)
    statuses = []

    def note() -> None:
        run_id, _ = mirror(record, workspace).sync()
        statuses.append(mirror(record, workspace).client.get_run(run_id).info.status)

    note()
    record.finish("KILLED")
    note()
    trainer = record.lock()
    record.go_on()
    note()
    trainer.release()
    note()
    record.finish("FINISHED")
    note()

    assert statuses == ["RUNNING", "KILLED", "RUNNING", "KILLED", "FINISHED"]


def test_a_damaged_run_does_not_keep_the_others_from_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named, with what to do, and the exit code says that something is left."""
    workspace = Workspace(tmp_path)
    damaged, whole = (make_run(workspace.runs, epochs=1) for _ in range(2))
    (damaged.folder / "run.json").write_text("")
    monkeypatch.setenv("LESION_HOME", str(tmp_path))

    monkeypatch.setattr("sys.argv", ["lesion-train", "sync", "--all"])
    with pytest.raises(SystemExit) as ended:
        main()

    shown = capsys.readouterr()
    assert ended.value.code == 2
    assert f"{damaged.folder.name}: not sent. " in shown.err
    assert "run.json is damaged" in shown.err
    assert shown.out.startswith(f"{whole.folder.name}: ")


def test_artefacts_of_a_database_of_one_s_own_lie_in_the_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow itself would take the current folder."""
    monkeypatch.chdir(tmp_path)
    workspace = Workspace(tmp_path / "home")

    sender = Mirror(make_run(workspace.runs, epochs=1), f"sqlite:///{tmp_path}/other.db", workspace)
    run_id, _ = sender.sync()

    assert str(sender.client.get_run(run_id).info.artifact_uri).startswith(workspace.mlflow_artifacts.as_uri())
    assert not (tmp_path / "mlruns").exists()


def test_mlflow_holds_what_its_users_look_for(workspace: Workspace, tiny: Bundle) -> None:
    """Settings, rows of epochs, steps and the machine, final scores with intervals, user, source, data sets, end."""
    record = make_run(workspace.runs)
    bundle = add_bundle(record, tiny, val_bma=0.7)
    record.finish()

    run_id, sent = mirror(record, workspace).sync()
    run = mirror(record, workspace).client.get_run(run_id)

    assert run.data.params == {"backbone": "none", "epochs": "3"}
    assert run.data.tags.items() >= FACTS.items()
    assert run.data.tags["mlflow.user"] == run.data.tags["mlflow.user"].strip() != ""
    assert run.data.tags["mlflow.source.name"] == "lesion-train fit"
    assert run.data.tags["mlflow.source.git.commit"] == "a" * 40
    history = mirror(record, workspace).client.get_metric_history
    assert [row.step for row in history(run_id, "train_loss")] == [1, 2, 3]
    assert [row.step for row in history(run_id, "step/loss")] == list(range(1, 21))
    assert len(history(run_id, "system/cpu_utilization_percentage")) == 1
    final = bundle.manifest.training.metrics["val_bma"]
    shown = [run.data.metrics[name] for name in ("val_bma", "val_bma_low", "val_bma_high")]
    assert shown == [final.value, final.low, final.high]
    assert run.inputs is not None
    contexts = {item.tags[0].value: item.dataset for item in run.inputs.dataset_inputs}
    assert set(contexts) == {"train", "validation"}
    assert contexts["train"].digest != contexts["validation"].digest
    assert '"images": 16' in str(contexts["train"].profile)
    source = mlflow.data.get_source(contexts["train"])
    assert source.to_dict()["tags"]["data_digest"] == record.description["facts"]["data_digest"]
    assert (run.info.status, run.info.end_time) == record.end
    assert run.info.start_time == record.description["started_ms"]
    assert sent.metrics == len(rows_at_server(mirror(record, workspace).client, run_id))


def test_files_of_a_run_are_artefacts(workspace: Workspace, tiny: Bundle) -> None:
    """Settings, split, predictions, the report, and the bundle as it is."""
    record = make_run(workspace.runs)
    bundle = add_bundle(record, tiny)
    (record.report / "index.html").write_text("a report")
    record.write_predictions("validation", predictions(images(16, "validation"), skill=0.5))

    run_id, _ = mirror(record, workspace).sync()
    client = mirror(record, workspace).client

    names = {item.path for item in client.list_artifacts(run_id)}
    assert names == {"config.toml", "split.csv", "report", "predictions", "model"}
    assert {item.path for item in client.list_artifacts(run_id, "model")} == {
        f"model/{name}" for name in ("bundle", "MLmodel", "input_example.json")
    }
    assert {item.path for item in client.list_artifacts(run_id, "model/bundle")} == {
        f"model/bundle/{name}" for name in ("bundle.json", *bundle.manifest.files)
    }


def test_the_model_is_described_with_signature_and_example_but_cannot_be_loaded(
    workspace: Workspace, tiny: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's tools read the description; nothing in it names code to run."""
    record = make_run(workspace.runs)
    add_bundle(record, tiny)
    made = register(mirror(record, workspace), "described")
    run_id, _ = mirror(record, workspace).sync()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", workspace.mlflow_database)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", workspace.mlflow_database)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where MLflow leaves what it fetched

    for uri in (f"runs:/{run_id}/model", f"models:/described/{made.version}", "models:/described@challenger"):
        found = mlflow.models.get_model_info(uri)

        assert found.flavors == {}
        assert found.signature is not None
        assert found.signature.inputs.input_names() == ["image"]
        assert found.signature.outputs.input_names() == list(tiny.manifest.taxonomy.codes)
        with pytest.raises(MlflowException, match="python_function"):
            mlflow.pyfunc.load_model(uri)


def test_a_run_can_be_sent_again_and_again(workspace: Workspace, tiny: Bundle) -> None:
    """From the same program or another: nothing is sent twice."""
    record = make_run(workspace.runs)
    add_bundle(record, tiny)
    first = mirror(record, workspace)
    run_id, sent = first.sync()
    before = rows_at_server(first.client, run_id)
    assert sent.metrics == len(before)

    for again in (first, mirror(record, workspace)):
        same_id, sent = again.sync()
        assert same_id == run_id
        assert str(sent) == "nothing was missing"
    assert rows_at_server(first.client, run_id) == before


def test_rows_that_come_later_are_sent_alone(workspace: Workspace) -> None:
    """One request for what is new, while the server confirms everything."""
    record = make_run(workspace.runs, epochs=1, steps=2)
    mine = mirror(record, workspace)
    assert mine.sync_rows().metrics == 8

    add_rows(record, epochs=[2], steps=[3])

    assert mine.sync_rows().metrics == 5
    assert mine.sync_rows().metrics == 0
    assert mirror(record, workspace).sync_rows().metrics == 0


@pytest.mark.parametrize("method", ["create_run", "log_batch", "log_inputs", "log_artifact", "set_tag"])
@pytest.mark.parametrize("has_arrived", [True, False])
def test_a_crash_at_any_point_of_sending_leaves_no_row_twice_and_none_out(
    workspace: Workspace, tiny: Bundle, monkeypatch: pytest.MonkeyPatch, method: str, has_arrived: bool
) -> None:
    """Also where the server took it and the answer was lost: what is missing is found out from the server."""
    whole, cut = make_run(workspace.runs), make_run(workspace.runs)
    for record in (whole, cut):
        add_bundle(record, tiny)
        (cut.folder / "epochs.jsonl").write_bytes((whole.folder / "epochs.jsonl").read_bytes())
        for name in ("steps", "system"):
            (cut.folder / f"{name}.jsonl").write_bytes((whole.folder / f"{name}.jsonl").read_bytes())
    original = getattr(MlflowClient, method)

    def fail(self: MlflowClient, *arguments: Any, **options: Any) -> None:
        if has_arrived:
            original(self, *arguments, **options)
        raise OSError("the connection broke")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, method, fail)
        with pytest.raises(TrackingError, match="lesion-train sync"):
            mirror(cut, workspace).sync()

    client = mirror(cut, workspace).client
    arrived = sum(len(rows_at_server(client, run.info.run_id)) for run in runs_of(cut, client))
    run_id, sent = mirror(cut, workspace).sync()
    whole_id, _ = mirror(whole, workspace).sync()
    assert rows_at_server(client, run_id) == rows_at_server(client, whole_id)
    # MLflow itself keeps equal rows once; that none is sent twice is seen from their number.
    assert arrived + sent.metrics == len(rows_at_server(client, whole_id))
    one, two = client.get_run(run_id), client.get_run(whole_id)
    assert one.data.params == two.data.params
    assert one.inputs is not None
    assert two.inputs is not None
    assert len(one.inputs.dataset_inputs) == len(two.inputs.dataset_inputs) == 2
    assert [run.info.run_id for run in runs_of(cut, client)] == [run_id]


def test_a_second_run_of_a_record_gives_way(workspace: Workspace) -> None:
    """It can only come from a request that was repeated because its answer was lost."""
    record = make_run(workspace.runs)
    run_id, _ = mirror(record, workspace).sync()
    client = mirror(record, workspace).client
    experiment = client.get_run(run_id).info.experiment_id
    other = client.create_run(experiment, tags={"lesion.record_id": record.id})

    assert mirror(record, workspace).sync()[0] == run_id
    assert client.get_run(other.info.run_id).info.lifecycle_stage == "deleted"


def test_a_run_that_a_person_deleted_is_not_sent_again(workspace: Workspace) -> None:
    """It says how to bring it back."""
    record = make_run(workspace.runs)
    run_id, _ = mirror(record, workspace).sync()
    mirror(record, workspace).client.delete_run(run_id)

    with pytest.raises(TrackingError, match=f"mlflow runs restore --run-id {run_id}"):
        mirror(record, workspace).sync()


def test_parts_of_a_run_are_nested_below_it(workspace: Workspace) -> None:
    """Whichever is sent first; the parent stays one run."""
    parent = make_run(workspace.runs)
    folds = [make_run(workspace.runs, parent=parent) for _ in range(2)]

    ids = [mirror(fold, workspace).sync()[0] for fold in folds]
    parent_id, _ = mirror(parent, workspace).sync()

    client = mirror(parent, workspace).client
    assert {client.get_run(run_id).data.tags["mlflow.parentRunId"] for run_id in ids} == {parent_id}


def test_one_program_at_a_time_sends_a_record(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that compare with the server at once would both send the difference."""
    record = make_run(workspace.runs)
    monkeypatch.setattr("lesion_train.tracking.mirror.LOCK_TIMEOUT_S", 0.05)

    with (
        mirror(record, workspace)._exclusive(),
        pytest.raises(TrackingError, match="by another process or thread"),
    ):
        mirror(record, workspace).sync()


def test_a_version_carries_digests_and_scores_with_intervals(workspace: Workspace, tiny: Bundle) -> None:
    """As tags, beside the aliases."""
    record = make_run(workspace.runs)
    bundle = add_bundle(record, tiny, seed=5, val_bma=0.7, val_sensitivity_MEL=0.6)
    record.write_predictions("validation", predictions(images(16, "validation"), skill=0.5))

    made = register(mirror(record, workspace), "tagged")

    assert made.aliases == ("challenger", "champion")
    version = mirror(record, workspace).client.get_model_version("tagged", made.version)
    assert version.tags["bundle_digest"] == bundle.digest
    assert version.tags["git_revision"] == FACTS["git_revision"]
    assert version.tags["split_digest"] == FACTS["split_digest"]
    assert version.tags["val_bma"] == "0.700 (95% CI 0.600–0.800)"
    assert "val_sensitivity_MEL" in version.tags
    assert len(version.tags["predictions_validation_sha256"]) == 64
    assert str(version.source).endswith("/artifacts/model")


class HangingMirror:
    """Stands for a server that does not answer until it is told to."""

    def __init__(self, record: RunRecord) -> None:
        self.record = record
        self.answers = threading.Event()
        self.calls = 0

    def sync_rows(self) -> None:
        self.calls += 1
        self.answers.wait()
        raise TrackingError("no answer")


def test_training_never_waits_for_mlflow(tmp_path: Path) -> None:
    """A thousand notices while one request hangs; after a failure the next waits twice as long each time."""
    record = make_run(tmp_path)
    hanging = HangingMirror(record)
    now = [1000.0]
    background = BackgroundMirror(hanging, clock=lambda: now[0])  # type: ignore[arg-type]

    for _ in range(1000):
        background.notify()

    assert hanging.calls == 1
    with pytest.raises(TrackingError, match=f"lesion-train register {record.folder}"):
        background.register("skin-lesion", timeout_s=0.01)
    waits = []
    hanging.answers.set()
    for _ in range(8):
        assert background._idle.wait(10)
        waits.append(background._not_before - now[0])
        calls = hanging.calls
        background.notify()
        assert hanging.calls == calls
        now[0] = background._not_before
        background.notify()
    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]


def test_a_training_stopped_while_its_rows_begin_to_be_sent_ends_in_order(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between the start of a thread and its report that it runs: the rest is sent all the same."""
    record = make_run(tmp_path)
    background = BackgroundMirror(mirror(record, workspace))

    def interrupted(thread: threading.Thread) -> None:
        _thread.start_new_thread(thread.run, ())
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            background.notify()
    record.finish("KILLED")
    background.finish()

    (run,) = runs_of(record, mirror(record, workspace).client)
    assert run.info.status == "KILLED"


def test_the_machine_is_sampled_while_a_run_trains(tmp_path: Path) -> None:
    """Into the record, so that nothing is lost while MLflow is down."""
    record = RunRecord.create(tmp_path, "drawn", {}, FACTS)

    with SystemSampler(record, interval_s=0.01):
        while len(record.system) < 3:
            pass

    samples = record.system
    assert [row["sample"] for row in samples[:3]] == [1, 2, 3]
    assert all(0 <= row["cpu_utilization_percentage"] <= 100 for row in samples)
    assert all(row["process_memory_usage_megabytes"] > 10 for row in samples)
