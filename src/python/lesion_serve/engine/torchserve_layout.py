"""What a TorchServe needs before it starts: ports, a folder of its own, its settings, its command, its environment.

What the user's shell says to TorchServe never reaches it: ``TS_CONFIG_FILE`` alone would replace our whole
configuration, token authorisation included. Nor does anything else of the shell that is not listed here: workers run
models, and secrets of the programs around them are not their business.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import attrs
import ts

from lesion_core.errors import LesionError
from lesion_core.processes import free_port, require_free_port
from lesion_core.workspace import SERVE_PORT

MAX_REQUEST_BYTES = 21 * 1024 * 1024  # a little above what the predictor takes, so that its own sentence is the answer
QUEUE = 100
TEN_YEARS_MIN = 10 * 365 * 24 * 60
FOLDER_PREFIX = "lesion-serve-"
LOCK = "owner.lock"
LOGGING = "log4j2.xml"
# One line for a request, that of the access log: TorchServe's own settings write nine, each of them twice, which takes
# a fifth of its time and fills the disk. What is left out are the steps of an answer, and our own looks at its state.
_LOGGING_SETTINGS = """\
<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="warn">
  <Appenders>
    <Console name="console" target="SYSTEM_OUT">
      <PatternLayout pattern="%d{ISO8601} [%-5p] %t %c - %m%n"/>
      <RegexFilter regex="(Backend re(ceived inference|sponse time)|Flushing req|Looping backend|/\\S+ &quot;GET ).*"
                   onMatch="DENY" onMismatch="ACCEPT"/>
    </Console>
  </Appenders>
  <Loggers>
    <Logger name="io.netty" level="error"/>
    <Logger name="org.apache" level="off"/>
    <Logger name="org.pytorch.serve" level="debug"/>
    <Logger name="org.pytorch.serve.job" level="warn"/>
    <Logger name="org.pytorch.serve.wlm.BatchAggregator" level="warn"/>
    <Logger name="org.pytorch.serve.wlm.WorkerLifeCycle" level="warn"/>
    <Root level="info"><AppenderRef ref="console"/></Root>
  </Loggers>
</Configuration>
"""
_INHERITED = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "XDG_CACHE_HOME"),
        *("LD_LIBRARY_PATH", "LD_PRELOAD", "MALLOC_ARENA_MAX", "MALLOC_CONF"),
        *("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES"),
    }
)


@attrs.frozen(kw_only=True)
class TorchServeSettings:
    """How an instance runs. Management and metrics take free ports where they are ``None``.

    ``workers`` are those of each version. ``stuck_after_s`` is how long a dead worker may stay away before it is given
    a new start, past TorchServe's own attempts; a further one waits twice as long.
    """

    port: int = SERVE_PORT
    management_port: int | None = None
    metrics_port: int | None = None
    workers: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    java: Path | None = None
    stuck_after_s: float = 60.0


@attrs.frozen(kw_only=True)
class Ports:
    """All ports of an instance, on loopback; they stay the same when it is started again."""

    inference: int
    management: int
    metrics: int
    grpc_inference: int
    grpc_management: int


def check_ports(settings: TorchServeSettings) -> None:
    """Make sure that the named ports are free and not the same.

    Raises:
        PortTakenError: names the option.
        LesionError: ``same_port``.
    """
    taken: dict[int, str] = {}
    for port, option in (
        (settings.port, "--torchserve-port"),
        (settings.management_port, "--management-port"),
        (settings.metrics_port, "--metrics-port"),
    ):
        if port is None:
            continue
        if port in taken:
            raise LesionError(f"{taken[port]} and {option} are both {port}; each needs its own.", code="same_port")
        require_free_port(port, "TorchServe", option)
        taken[port] = option


def choose_ports(settings: TorchServeSettings) -> Ports:
    """The named ports, and free ones for the rest; all different."""
    used = {settings.port, settings.management_port, settings.metrics_port}
    free: list[int] = []
    while len(free) < 4:
        if (port := free_port()) not in used:
            used.add(port)
            free.append(port)
    return Ports(
        inference=settings.port,
        management=settings.management_port or free[0],
        metrics=settings.metrics_port or free[1],
        grpc_inference=free[2],
        grpc_management=free[3],
    )


def own(folder: Path) -> int:
    """Lock an instance's folder for as long as this process lives; returns the open lock."""
    being_made = folder / f".{LOCK}"
    lock = os.open(being_made, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    being_made.rename(folder / LOCK)  # nobody sees it unlocked
    return lock


def remove_abandoned_folders() -> None:
    """Remove what instances left whose owner was killed: nothing else does, and each holds a model twice."""
    for path in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*/{LOCK}"):
        with contextlib.suppress(OSError), path.open("rb") as stream:  # of another user, or locked: in use
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.parent, ignore_errors=True)


def lay_out(folder: Path, ports: Ports, settings: TorchServeSettings) -> None:
    """Make an instance's folder: an empty model store, a folder for temporary files, and its settings."""
    store = folder / "models"
    store.mkdir()
    (folder / "tmp").mkdir()
    properties = {
        "inference_address": f"http://127.0.0.1:{ports.inference}",
        "management_address": f"http://127.0.0.1:{ports.management}",
        "metrics_address": f"http://127.0.0.1:{ports.metrics}",
        "grpc_inference_port": ports.grpc_inference,  # cannot be switched off; on loopback, and asks for the token too
        "grpc_management_port": ports.grpc_management,
        "model_store": store,
        "allowed_urls": f"file://{store}/.*",
        "default_workers_per_model": settings.workers,
        "job_queue_size": QUEUE,
        "default_response_timeout": 60,
        "default_startup_timeout": 180,
        "max_request_size": MAX_REQUEST_BYTES,
        "token_expiration_min": TEN_YEARS_MIN,  # or every key dies after an hour; a restart makes new ones
        "disable_token_authorization": "false",
        "enable_model_api": "true",  # versions come and go; only the owner of the key file can ask for it
        "enable_envvars_config": "false",
        "install_py_dep_per_model": "false",
        "metrics_mode": "prometheus",
        "disable_system_metrics": "true",
        "number_of_gpu": 0,
    }
    text = "".join(f"{key}={value}\n" for key, value in properties.items())
    (folder / "config.properties").write_text(text)
    (folder / LOGGING).write_text(_LOGGING_SETTINGS)


def command(java: Path, folder: Path) -> list[str]:
    """What ``ts.model_server`` would start, with this instance's folders, and a Java that leaves the cores to workers.

    All that Java does is to pass images on. Its optimising compiler and its parallel garbage collector take more of
    the workers' time than they save: without them a request costs it half as much, and it starts sooner.
    """
    package = Path(str(ts.__file__)).parent
    return [
        *(str(java), "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
        *(f"-Dlog4j.configurationFile={folder / LOGGING}", f"-Djava.io.tmpdir={folder / 'tmp'}"),
        *(f"-Dmodel_server_home={package.parent}", "-cp", f"{package / 'frontend'}/*", "org.pytorch.serve.ModelServer"),
        *("--python", sys.executable, "-f", str(folder / "config.properties"), "-s", str(folder / "models"), "-ncs"),
    ]


def inherited_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What TorchServe and its workers get of our own environment: a list of what may, so no secret by accident."""
    return {name: value for name, value in environment.items() if name in _INHERITED or name.startswith("LC_")}
