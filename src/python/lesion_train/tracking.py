"""Mirror runs to MLflow and register bundles there. The only module of training that imports mlflow.

MLflow is a mirror, never a dependency: where it is out of reach a run goes on, and ``lesion-train register`` catches
up later. Models are stored as bundles (plain files), not as an MLflow flavour: loading one executes nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

import attrs
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from lesion_core.bundle import load_bundle
from lesion_core.errors import LesionError
from lesion_core.workspace import Workspace
from lesion_train.record import RunRecord

EXPERIMENT = "lesion"
CHAMPION, CHALLENGER = "champion", "challenger"
_STATE = "mlflow.json"


@attrs.frozen(kw_only=True)
class RegisteredVersion:
    """A version of the registered model, and the aliases that it was given now."""

    name: str
    version: str
    aliases: tuple[str, ...]


class TrackingError(LesionError):
    """MLflow did not take what it was given; everything is still in the run's own folder."""

    code = "tracking_failed"


class Mirror:
    """Brings MLflow up to date with a run's record. Every call is safe to repeat."""

    def __init__(self, record: RunRecord, tracking_uri: str, workspace: Workspace) -> None:
        self._record = record
        self._uri = tracking_uri
        self._workspace = workspace
        self._connected: MlflowClient | None = None

    def sync_epochs(self) -> None:
        """Send the settings, and the epochs that were not sent yet.

        Raises:
            TrackingError: MLflow is out of reach or refuses.
        """
        with _named(self._uri, self._record):
            run_id, sent = self._run()
            rows = self._record.epochs
            metrics = [
                Metric(key, value, int(row["time_ms"]), int(row["epoch"]))
                for row in rows[sent:]
                for key, value in row.items()
                if key not in ("epoch", "time_ms")
            ]
            if metrics:
                self._client.log_batch(run_id, metrics=metrics)
            self._save_state(run_id, len(rows))

    def register(self, name: str) -> RegisteredVersion:
        """Send the rest of the run, and make its bundle the newest version of model ``name``, alias ``challenger``.

        It becomes ``champion`` as well where there is none yet. A bundle that is registered already stays one version.

        Raises:
            TrackingError: MLflow is out of reach or refuses.
            BundleError: the run has no intact bundle.
        """
        bundle = load_bundle(self._record.bundle)
        self.sync_epochs()
        with _named(self._uri, self._record):
            client, (run_id, _) = self._client, self._run()
            for key, interval in bundle.manifest.training.metrics.items():
                client.log_metric(run_id, key, interval.value)
                client.log_metric(run_id, f"{key}_low", interval.low)
                client.log_metric(run_id, f"{key}_high", interval.high)
            for path in (self._record.config, self._record.split):
                client.log_artifact(run_id, str(path))
            client.log_artifacts(run_id, str(self._record.plots), "plots")
            client.log_artifacts(run_id, str(bundle.folder), "bundle")
            client.set_terminated(run_id)
            versions = list(client.search_model_versions(f"name = '{name}'"))
            known = [v for v in versions if v.tags.get("bundle_digest") == bundle.digest]
            if known:
                return RegisteredVersion(name=name, version=str(known[0].version), aliases=())
            if not client.search_registered_models(f"name = '{name}'"):
                client.create_registered_model(name, description="Skin lesion classifier. Research use only.")
            source = f"{client.get_run(run_id).info.artifact_uri}/bundle"
            made = client.create_model_version(
                name, source, run_id, tags={"bundle_digest": bundle.digest}, await_creation_for=0
            )
            aliases = [CHALLENGER]
            if CHAMPION not in client.get_registered_model(name).aliases:
                aliases.append(CHAMPION)
            for alias in aliases:
                client.set_registered_model_alias(name, alias, made.version)
            return RegisteredVersion(name=name, version=str(made.version), aliases=tuple(aliases))

    @property
    def _client(self) -> MlflowClient:
        if self._connected is None:
            self._workspace.root.mkdir(parents=True, exist_ok=True)
            self._connected = MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)
        return self._connected

    def _run(self) -> tuple[str, int]:
        """Id of this run at this server, and how many epochs were sent."""
        path = self._record.folder / _STATE
        state = json.loads(path.read_text()) if path.exists() else {}
        if state.get("tracking_uri") == self._uri:
            return state["run_id"], state["epochs_sent"]
        client, description = self._client, self._record.description
        run = client.create_run(self._experiment(), run_name=description["name"])
        client.log_batch(
            run.info.run_id,
            params=[Param(key, str(value)) for key, value in description["settings"].items()],
            tags=[RunTag(key, value) for key, value in description["facts"].items()],
        )
        self._save_state(run.info.run_id, 0)
        return run.info.run_id, 0

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        if found:
            return str(found.experiment_id)
        is_local = self._uri == self._workspace.mlflow_database
        location = self._workspace.mlflow_artifacts.as_uri() if is_local else None
        # MLflow's pages then show training runs, not chat traces.
        tags = {"mlflow.experimentKind": "custom_model_development"}
        return str(self._client.create_experiment(EXPERIMENT, artifact_location=location, tags=tags))

    def _save_state(self, run_id: str, epochs_sent: int) -> None:
        state = {"tracking_uri": self._uri, "run_id": run_id, "epochs_sent": epochs_sent}
        (self._record.folder / _STATE).write_text(json.dumps(state))


@contextlib.contextmanager
def _named(uri: str, record: RunRecord) -> Iterator[None]:
    """Turn MLflow's exceptions into ours."""
    try:
        yield
    except (MlflowException, OSError) as error:
        reason = str(error).strip().splitlines()[0][:300]
        raise TrackingError(
            f"MLflow at {uri} did not take the run: {reason} Nothing is lost: the record is in {record.folder}; "
            f"send it later with 'lesion-train register {record.folder}'."
        ) from error
