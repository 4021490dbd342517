"""One TorchServe process, on loopback, started, started again and stopped by us. It starts without a model.

Every instance has a folder of its own: model store, key file, logs and the temporary folder where workers' sockets lie,
so that several can run on one host. Java is started directly, not through ``torchserve --start``: that one keeps a
single pid file for the whole host and leaves Java behind when it is stopped in the foreground.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from pathlib import Path

from lesion_core.processes import ONE_THREAD, ChildProcess
from lesion_serve.archive import ArchiveInfo, copy_archive
from lesion_serve.engine.java import find_java
from lesion_serve.engine.torchserve_layout import (
    FOLDER_PREFIX,
    Ports,
    TorchServeSettings,
    check_ports,
    choose_ports,
    command,
    inherited_environment,
    lay_out,
    own,
    remove_abandoned_folders,
)
from lesion_serve.engine.torchserve_management import Management

START_TIMEOUT_S = 120.0
_REASON = re.compile(r"Failed to load model \S+, exception (.+)")
_LAST_LINE_OF_A_TRACEBACK = re.compile(r"MODEL_LOG - (\w[\w.]*(?:Error|Exception): .+)")


class TorchServeInstance:
    """A frontend with its folder, ports and keys. The keys are new after each start."""

    def __init__(self, folder: Path, lock: int, ports: Ports, java: Path, log_path: Path) -> None:
        self.folder = folder
        self.ports = ports
        self.log_path = log_path
        self.process: ChildProcess
        self.management: Management
        self.token = ""
        self._lock = lock
        self._java = java

    @classmethod
    def start(cls, settings: TorchServeSettings, *, serving: Path) -> TorchServeInstance:
        """Start and wait until the management address answers.

        Raises:
            PortTakenError: a port is taken; names the option.
            LesionError: ``did_not_start``; quotes its log.
        """
        check_ports(settings)
        java = find_java(settings.java)
        serving.mkdir(parents=True, exist_ok=True)
        remove_abandoned_folders()
        # Worker sockets lie in the temporary folder, and the path of a socket has at most 107 characters.
        folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
        lock = own(folder)
        ports = choose_ports(settings)
        instance = cls(folder, lock, ports, java, _fresh(serving / f"torchserve-{settings.port}.log"))
        try:
            lay_out(folder, ports, settings)
            instance.start_process()
        except BaseException:
            instance.stop()
            raise
        return instance

    def start_process(self) -> None:
        """Start Java, on the same ports and in the same folder as before, and read its new keys.

        Raises:
            LesionError: ``did_not_start``; quotes its log.
        """
        temporary = self.folder / "tmp"
        shutil.rmtree(temporary, ignore_errors=True)  # sockets and unpacked models of one that was killed
        temporary.mkdir()
        self._key_file.unlink(missing_ok=True)
        self.process = ChildProcess.start(
            "TorchServe",
            command(self._java, self.folder),
            log_path=self.log_path,
            environment={"TEMP": str(temporary), "TMPDIR": str(temporary), **ONE_THREAD},
            inherited=inherited_environment(os.environ),
            cwd=self.folder,
        )
        self.process.wait_until(self._is_up, timeout_s=START_TIMEOUT_S)

    def add_archive(self, archive: ArchiveInfo) -> str:
        """Copy an archive into the model store, from where TorchServe removes it with the model; returns its name.

        Raises:
            ArchiveError: it was altered since it was read.
        """
        name = f"{archive.serving_name}-{archive.sha256[:16]}.mar"
        copy_archive(archive, self.folder / "models" / name)
        return name

    def log_size(self) -> int:
        """Where the log ends now, in bytes."""
        return self.log_path.stat().st_size

    def load_failure(self, archive: ArchiveInfo, *, since: int) -> str | None:
        """Why a worker of this archive's version cannot load it, as the log tells it from byte ``since`` on."""
        with self.log_path.open("rb") as stream:
            stream.seek(since)
            text = stream.read().decode(errors="replace")
        return load_failure(text, archive.serving_name, archive.version)

    def stop(self) -> None:
        """End Java and its workers, and remove the folder. Safe to call twice."""
        if hasattr(self, "process"):
            self.process.stop()
        if self.token:
            self.management.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    @property
    def _key_file(self) -> Path:
        return self.folder / "key_file.json"

    def _is_up(self) -> bool:
        try:
            keys = json.loads(self._key_file.read_text())
            token, management_key = keys["inference"]["key"], keys["management"]["key"]
        except (OSError, ValueError, KeyError):  # not written yet, or only half
            return False
        if token != self.token:
            self.token = token
            self.management = Management(self.ports.management, management_key)
        return self.management.is_up()


def load_failure(log: str, name: str, version: str) -> str | None:
    """Why a worker of this version cannot load its model; ``None`` as long as none has failed for good."""
    worker = re.compile(rf"W-\d+-{re.escape(f'{name}_{version}')}(?=-std(?:out|err)|\s)")
    log = "\n".join(line for line in log.splitlines() if worker.search(line))
    if told := _REASON.search(log):
        return told[1].strip()
    if log.count("Load model failed") < 2:  # once may have been bad luck; TorchServe tries again
        return None
    errors = _LAST_LINE_OF_A_TRACEBACK.findall(log)
    return str(errors[-1]).strip() if errors else "its process died."


def _fresh(path: Path) -> Path:
    """A log of this instance only, that its owner alone can read."""
    path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
    return path
