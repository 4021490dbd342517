"""Start a real MLflow server on the workspace's database, on loopback only."""

from __future__ import annotations

import sys
import urllib.request

from lesion_core.processes import ChildProcess, require_free_port
from lesion_core.workspace import Workspace

READY_TIMEOUT_S = 120.0


def start_mlflow(workspace: Workspace, port: int) -> ChildProcess:
    """Start it and wait until it answers; it ends with this process.

    Raises:
        PortTakenError: something else listens on ``port``.
        LesionError: it did not start; quotes its log.
    """
    require_free_port(port, "MLflow server", "--port")
    workspace.mlflow_artifacts.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
        *("--backend-store-uri", workspace.mlflow_database, "--workers", "1"),
        *("--no-serve-artifacts", "--default-artifact-root", workspace.mlflow_artifacts.as_uri()),
    ]
    environment = {
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
    except BaseException:
        server.stop()
        raise
    return server
