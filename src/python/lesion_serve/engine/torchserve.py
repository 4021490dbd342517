"""Run an archive under TorchServe, on loopback, started and stopped by us.

Every instance has a folder of its own: model store, key file, logs and the temporary folder where workers' sockets lie,
so that several can run on one host. Java is started directly, not through ``torchserve --start``: that one keeps a
single pid file for the whole host and leaves Java behind when it is stopped in the foreground.

What the user's shell says to TorchServe is taken away from it: ``TS_CONFIG_FILE`` alone would replace our whole
configuration, token authorisation included.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import attrs
import httpx
import ts
from PIL import Image

from lesion_core.errors import LesionError
from lesion_core.processes import ChildProcess, free_port, require_free_port
from lesion_core.workspace import SERVE_PORT, Endpoint
from lesion_serve.archive import ArchiveInfo, read_archive, require_plugin
from lesion_serve.engine.java import find_java

READY_TIMEOUT_S = 180.0
MAX_REQUEST_BYTES = 21 * 1024 * 1024  # a little above what the predictor takes, so that its own sentence is the answer
TEN_YEARS_MIN = 10 * 365 * 24 * 60
FOLDER_PREFIX = "lesion-serve-"
LOCK = "owner.lock"
_REASON = re.compile(r"Failed to load model \S+, exception (.+)")
_LAST_LINE_OF_A_TRACEBACK = re.compile(r"MODEL_LOG - (\w[\w.]*(?:Error|Exception): .+)")
_READ_BY_TORCHSERVE = ("LOG_LOCATION", "METRICS_LOCATION", "SM_TELEMETRY_LOG")  # besides TS_…


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

    def __init__(self, process: ChildProcess, endpoint: Endpoint, folder: Path, lock: int) -> None:
        self.endpoint = endpoint
        self.process = process
        self._folder = folder
        self._lock = lock

    @classmethod
    def start(cls, archive: Path, settings: TorchServeSettings, *, serving: Path) -> TorchServeEngine:
        """Start and wait until a worker has answered a prediction.

        Args:
            archive: a ``.mar`` of ours.
            settings: ports, workers, Java.
            serving: folder in which the instance makes its own.
        Raises:
            PluginMissingError, PluginVersionError: the archive's backbone cannot be built here; nothing was started.
            PortTakenError: a port is taken; names the option.
            LesionError: ``model_did_not_load``: a worker could not load the archive; says why.
                ``did_not_start``: anything else; quotes its log.
        """
        info = read_archive(archive)
        require_plugin(info)
        _check_ports(settings)
        java = find_java(settings.java)
        serving.mkdir(parents=True, exist_ok=True)
        _remove_abandoned_folders()
        # Worker sockets lie in the temporary folder, and the path of a socket has at most 107 characters.
        folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
        lock = _own(folder)
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
            os.close(lock)
            raise
        url = f"http://127.0.0.1:{settings.port}/predictions/{info.serving_name}"
        engine = cls(process, Endpoint(url=url, token=""), folder, lock)
        try:
            process.wait_until(engine._is_ready, timeout_s=READY_TIMEOUT_S)
        except BaseException:
            engine.stop()
            raise
        return engine

    def _is_ready(self) -> bool:
        """TorchServe calls itself healthy before a worker is, so the sign is a real prediction.

        Raises:
            LesionError: ``model_did_not_load``: TorchServe would try again for minutes, with the same result.
        """
        log_path = self.process.log_path
        if log_path and (reason := _load_failure(log_path.read_text(errors="replace"))):
            raise LesionError(
                f"A TorchServe worker could not load the model: {reason} (the whole log: {log_path})",
                code="model_did_not_load",
            )
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
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _load_failure(log: str) -> str | None:
    """Why a worker cannot load its model, as the log tells it; ``None`` as long as none has failed for good."""
    if told := _REASON.search(log):
        return told[1].strip()
    if log.count("Load model failed") < 2:  # once may have been bad luck; TorchServe tries again
        return None
    errors = _LAST_LINE_OF_A_TRACEBACK.findall(log)
    return str(errors[-1]).strip() if errors else "its process died."


def _check_ports(settings: TorchServeSettings) -> None:
    taken: dict[int, str] = {}
    for port, option in (
        (settings.port, "--port"),
        (settings.management_port, "--management-port"),
        (settings.metrics_port, "--metrics-port"),
    ):
        if port is None:
            continue
        if port in taken:
            raise LesionError(f"{taken[port]} and {option} are both {port}; each needs its own.", code="same_port")
        require_free_port(port, "TorchServe", option)
        taken[port] = option


def _own(folder: Path) -> int:
    """Lock an instance's folder for as long as this process lives; returns the open lock."""
    being_made = folder / f".{LOCK}"
    lock = os.open(being_made, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    being_made.rename(folder / LOCK)  # nobody sees it unlocked
    return lock


def _remove_abandoned_folders() -> None:
    """Remove what instances left whose owner was killed: nothing else does, and each holds a model twice."""
    for path in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*/{LOCK}"):
        with contextlib.suppress(OSError), path.open("rb") as stream:  # of another user, or locked: in use
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.parent, ignore_errors=True)


def _lay_out(folder: Path, archive: Path, info: ArchiveInfo, settings: TorchServeSettings) -> None:
    store = folder / "models"
    for made in (store, folder / "tmp", folder / "logs"):
        made.mkdir()
    shutil.copyfile(archive, store / f"{info.serving_name}.mar")
    management, metrics, grpc_inference, grpc_management = _other_ports(settings)
    properties = {
        "inference_address": f"http://127.0.0.1:{settings.port}",
        "management_address": f"http://127.0.0.1:{management}",
        "metrics_address": f"http://127.0.0.1:{metrics}",
        "grpc_inference_port": grpc_inference,  # cannot be switched off; on loopback, and asks for the token too
        "grpc_management_port": grpc_management,
        "model_store": store,
        "load_models": f"{info.serving_name}.mar",
        "allowed_urls": f"file://{store}/.*",
        "default_workers_per_model": settings.workers,
        "job_queue_size": 100,
        "default_response_timeout": 60,
        "default_startup_timeout": 180,
        "max_request_size": MAX_REQUEST_BYTES,
        "token_expiration_min": TEN_YEARS_MIN,  # or every key dies after an hour; a restart makes new ones
        "disable_token_authorization": "false",
        "enable_model_api": "false",  # nobody adds or removes a model while it runs
        "enable_envvars_config": "false",
        "install_py_dep_per_model": "false",
        "metrics_mode": "prometheus",
        "disable_system_metrics": "true",
        "number_of_gpu": 0,
    }
    text = "".join(f"{key}={value}\n" for key, value in properties.items())
    (folder / "config.properties").write_text(text)


def _other_ports(settings: TorchServeSettings) -> tuple[int, int, int, int]:
    """Ports of management, metrics and the two gRPC addresses, all different."""
    used = {settings.port, settings.management_port, settings.metrics_port}
    free: list[int] = []
    while len(free) < 4:
        if (port := free_port()) not in used:
            used.add(port)
            free.append(port)
    return settings.management_port or free[0], settings.metrics_port or free[1], free[2], free[3]


def _command(java: Path, folder: Path) -> list[str]:
    """What ``ts.model_server`` would start, with this instance's folders and without the shell's own settings."""
    package = Path(str(ts.__file__)).parent
    settings_of_the_shell = [name for name in os.environ if name.startswith("TS_") or name in _READ_BY_TORCHSERVE]
    return [
        *("env", *(word for name in settings_of_the_shell for word in ("-u", name))),
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
