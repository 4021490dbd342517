"""The door to MLflow: its settings, its client, and its errors turned into ours. Imported before mlflow itself."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

# A request takes 10 s at most, twice: a server that accepts and never answers is given up soon. What may come twice
# because an answer was lost does no harm: see ``mirror``.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

from filelock import FileLock, Timeout
from mlflow.exceptions import MlflowException
from mlflow.store.db.db_types import DATABASE_ENGINES
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

from lesion_core.address import without_password
from lesion_core.errors import LesionError
from lesion_core.workspace import Workspace
from lesion_train.address import reason_of, require_database

EXPERIMENT = "lesion"
LOCK_TIMEOUT_S = 120.0
_connecting = threading.Lock()


class TrackingError(LesionError):
    """MLflow did not take or give what it was asked for; a run's own folder still holds everything."""

    code = "tracking_failed"


def connect(uri: str, workspace: Workspace) -> MlflowClient:
    """A client of a server or a database. The tables of a new database are made by one program at a time.

    Raises:
        TrackingError: another program has been making them for ``LOCK_TIMEOUT_S``; the database lets nobody in.
    """
    workspace.root.mkdir(parents=True, exist_ok=True)
    is_database = uri.partition(":")[0].partition("+")[0] in DATABASE_ENGINES
    if is_database:
        try:
            require_database(uri)
        except LesionError as error:
            raise TrackingError(error.message) from error
    lock = FileLock(workspace.root / "mlflow-tables.lock", timeout=LOCK_TIMEOUT_S)
    try:
        with _connecting, lock:  # MLflow's registry of stores is filled by the first one who asks
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            if is_database:
                with named_errors(uri, "Is the database up, and may its user make tables?"):
                    client.search_registered_models(max_results=1)  # whose store makes the tables, if nobody has
            return client
    except Timeout as error:
        raise TrackingError(f"{lock.lock_file} has been held for {LOCK_TIMEOUT_S:.0f} s; wait, and repeat.") from error


@contextlib.contextmanager
def named_errors(uri: str, hint: str) -> Iterator[None]:
    """Turn what MLflow raises into ``TrackingError``, without the address's password.

    Args:
        uri: of the server or database.
        hint: what the reader can do; ends the message.
    """
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise TrackingError(f"MLflow at {without_password(uri)} failed: {reason_of(error)} {hint}") from error


def is_error(error: MlflowException, code: str) -> bool:
    """Whether MLflow means this code, such as ``RESOURCE_ALREADY_EXISTS``."""
    return bool(error.error_code == code)


def is_conflict(error: TrackingError) -> bool:
    """Whether two programs wrote the same row at the same moment, or one found the database locked."""
    reason = str(error.__cause__).lower()
    return any(words in reason for words in ("unique constraint", "duplicate key", "database is locked"))


def experiment_id(client: MlflowClient, uri: str, workspace: Workspace) -> str:
    """Id of our experiment; made where it is missing, by whoever comes first.

    A server knows where artefacts go; of a database whoever makes the experiment says it, and MLflow would take the
    current folder.
    """
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        has_server = uri.startswith(("http://", "https://"))
        try:
            return str(
                client.create_experiment(
                    EXPERIMENT,
                    artifact_location=None if has_server else workspace.mlflow_artifacts.as_uri(),
                    # MLflow's pages then show training runs, not chat traces.
                    tags={"mlflow.experimentKind": "custom_model_development"},
                )
            )
        except MlflowException as error:
            if not is_error(error, "RESOURCE_ALREADY_EXISTS"):
                raise
            found = client.get_experiment_by_name(EXPERIMENT)
    if found is None or found.lifecycle_stage != "active":
        which = f" --experiment-id {found.experiment_id}" if found is not None else ""
        raise TrackingError(
            f"Experiment {EXPERIMENT!r} was deleted in MLflow at {without_password(uri)}. "
            f"Bring it back with 'mlflow experiments restore{which}'."
        )
    return str(found.experiment_id)
