"""Start a real MLflow server on the workspace's database or another, on loopback only."""

from __future__ import annotations

import sys
import urllib.request
from pathlib import Path

from lesion_core.address import without_password
from lesion_core.errors import LesionError
from lesion_core.processes import ChildProcess, require_free_port
from lesion_core.workspace import Workspace
from lesion_train.address import require_database

READY_TIMEOUT_S = 120.0


def start_mlflow(
    workspace: Workspace, port: int, *, backend_store_uri: str | None = None, artifact_root: str | None = None
) -> ChildProcess:
    """Start it and wait until it answers; it ends with this process.

    Args:
        workspace: its log goes there; its database and its folder of artefacts are the defaults.
        port: on loopback.
        backend_store_uri: address of a database that SQLAlchemy knows, such as ``postgresql+pg8000://…``. Handed over
            in the environment, since any user of the machine sees the command line.
        artifact_root: folder, or address of an object store. Trainers write there themselves.
    Raises:
        PortTakenError: something else listens on ``port``.
        LesionError: it did not start; quotes its log, without passwords.
    """
    require_free_port(port, "MLflow server", "--port")
    if backend_store_uri:
        require_database(backend_store_uri)
    workspace.root.mkdir(parents=True, exist_ok=True)
    root = artifact_root or str(workspace.mlflow_artifacts)
    if "://" not in root:
        Path(root).mkdir(parents=True, exist_ok=True)
        root = Path(root).resolve().as_uri()
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--no-serve-artifacts", "--default-artifact-root", root),
    ]
    environment = {
        "MLFLOW_BACKEND_STORE_URI": backend_store_uri or workspace.mlflow_database,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # or it starts eight more processes
        "GIT_PYTHON_REFRESH": "quiet",
    }
    server = ChildProcess.start(
        "The MLflow server", command, log_path=workspace.root / "mlflow-server.log", environment=environment
    )

    def is_ready() -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)

    try:
        server.wait_until(is_ready, timeout_s=READY_TIMEOUT_S)
    except LesionError as error:
        server.stop()
        raise LesionError(without_password(error.message), code=error.code) from None  # the cause may quote one
    except BaseException:
        server.stop()
        raise
    return server
