"""Run an archive under TorchServe, on loopback, started and stopped by us.

Every instance has a folder of its own: model store, key file, logs and the temporary folder where workers' sockets lie,
so that several can run on one host. Java is started directly, not through ``torchserve --start``: that one keeps a
single pid file for the whole host and leaves Java behind when it is stopped in the foreground.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import attrs
import httpx
import ts
from PIL import Image

from lesion_core.processes import ChildProcess, free_port, require_free_port
from lesion_core.workspace import SERVE_PORT, Endpoint
from lesion_serve.archive import ArchiveInfo, read_archive
from lesion_serve.engine.java import find_java

READY_TIMEOUT_S = 180.0
MAX_REQUEST_BYTES = 21 * 1024 * 1024  # a little above what the predictor takes, so that its own sentence is the answer
TEN_YEARS_MIN = 10 * 365 * 24 * 60


@attrs.frozen(kw_only=True)
class TorchServeSettings:
    """How an instance runs. Management and metrics take free ports where they are ``None``."""

    port: int = SERVE_PORT
    management_port: int | None = None
    metrics_port: int | None = None
    workers: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    java: Path | None = None


class TorchServeEngine:
    """One running TorchServe with one archive."""

    def __init__(self, process: ChildProcess, endpoint: Endpoint, folder: Path) -> None:
        self.endpoint = endpoint
        self.process = process
        self._folder = folder

    @classmethod
    def start(cls, archive: Path, settings: TorchServeSettings, *, serving: Path) -> TorchServeEngine:
        """Start and wait until a worker has answered a prediction.

        Args:
            archive: a ``.mar`` of ours.
            settings: ports, workers, Java.
            serving: folder in which the instance makes its own.
        Raises:
            PortTakenError: a port is taken; names the option.
            LesionError: it did not start; quotes its log.
        """
        info = read_archive(archive)
        require_free_port(settings.port, "TorchServe", "--port")
        for port, option in (
            (settings.management_port, "--management-port"),
            (settings.metrics_port, "--metrics-port"),
        ):
            if port is not None:
                require_free_port(port, "TorchServe", option)
        java = find_java(settings.java)
        serving.mkdir(parents=True, exist_ok=True)
        # Worker sockets lie in the temporary folder, and the path of a socket has at most 107 characters.
        folder = Path(tempfile.mkdtemp(prefix="lesion-serve-"))
        try:
            _lay_out(folder, archive, info, settings)
            process = ChildProcess.start(
                "TorchServe",
                _command(java, folder),
                log_path=_fresh(serving / f"torchserve-{settings.port}.log"),
                environment={"TEMP": str(folder / "tmp"), "TMPDIR": str(folder / "tmp"), "OMP_NUM_THREADS": "1"},
                cwd=folder,
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        url = f"http://127.0.0.1:{settings.port}/predictions/{info.serving_name}"
        engine = cls(process, Endpoint(url=url, token=""), folder)
        try:
            process.wait_until(engine._is_ready, timeout_s=READY_TIMEOUT_S)
        except BaseException:
            engine.stop()
            raise
        return engine

    def _is_ready(self) -> bool:
        """TorchServe calls itself healthy before a worker is, so the sign is a real prediction."""
        keys = self._folder / "key_file.json"
        if not keys.is_file():
            return False
        try:
            token = json.loads(keys.read_text())["inference"]["key"]
        except (ValueError, KeyError):
            return False
        self.endpoint = attrs.evolve(self.endpoint, token=token)
        with contextlib.suppress(httpx.HTTPError):
            answer = httpx.post(
                self.endpoint.url,
                content=_blank_image(),
                headers={"Authorization": f"Bearer {token}", "Content-Type": "image/png"},
                timeout=30,
                trust_env=False,
            )
            return answer.status_code == 200
        return False

    def stop(self) -> None:
        """End Java and its workers, and remove the folder. Safe to call twice."""
        self.process.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


def _lay_out(folder: Path, archive: Path, info: ArchiveInfo, settings: TorchServeSettings) -> None:
    store = folder / "models"
    for made in (store, folder / "tmp", folder / "logs"):
        made.mkdir()
    shutil.copyfile(archive, store / f"{info.serving_name}.mar")
    management, metrics = settings.management_port or free_port(), settings.metrics_port or free_port()
    properties = {
        "inference_address": f"http://127.0.0.1:{settings.port}",
        "management_address": f"http://127.0.0.1:{management}",
        "metrics_address": f"http://127.0.0.1:{metrics}",
        "grpc_inference_port": free_port(),
        "grpc_management_port": free_port(),
        "model_store": store,
        "load_models": f"{info.serving_name}.mar",
        "allowed_urls": f"file://{store}/.*",
        "default_workers_per_model": settings.workers,
        "job_queue_size": 100,
        "default_response_timeout": 60,
        "default_startup_timeout": 180,
        "max_request_size": MAX_REQUEST_BYTES,
        "token_expiration_min": TEN_YEARS_MIN,  # or every key dies after an hour; a restart makes new ones
        "enable_envvars_config": "false",  # a variable TS_… of the user's shell must not change what we said
        "install_py_dep_per_model": "false",
        "metrics_mode": "prometheus",
        "disable_system_metrics": "true",
        "number_of_gpu": 0,
    }
    text = "".join(f"{key}={value}\n" for key, value in properties.items())
    (folder / "config.properties").write_text(text)


def _command(java: Path, folder: Path) -> list[str]:
    """What ``ts.model_server`` would start, with this instance's folders."""
    package = Path(str(ts.__file__)).parent
    return [
        *(str(java), "-Xmx512m", f"-Dmodel_server_home={package.parent}", f"-Djava.io.tmpdir={folder / 'tmp'}"),
        *(f"-DLOG_LOCATION={folder / 'logs'}", f"-DMETRICS_LOCATION={folder / 'logs'}"),
        *("-cp", f"{package / 'frontend'}/*", "org.pytorch.serve.ModelServer"),
        *("--python", sys.executable, "-f", str(folder / "config.properties"), "-s", str(folder / "models"), "-ncs"),
    ]


def _fresh(path: Path) -> Path:
    """A log of this instance only, that its owner alone can read."""
    path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
    return path


def _blank_image() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (160, 160), (200, 160, 140)).save(stream, "PNG")
    return stream.getvalue()
