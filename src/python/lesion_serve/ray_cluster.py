"""A Ray cluster to work on: one that exists, or one of this machine alone, which ends with us. An optional extra."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from lesion_core.errors import LesionError
from lesion_core.processes import child_environment

CONNECT_S = 5.0
OBJECT_STORE_BYTES = 512 * 2**20
TOKEN_FILE = Path("~/.ray/auth_token")


class RayError(LesionError):
    """Ray is not there, or the cluster failed. Codes: ``no_ray``, ``ray_failed``, ``bad_replicas``."""

    code = "ray_failed"


def import_ray() -> ModuleType:
    """Ray, which reports nothing to its makers from here on, and shows a cluster its token where there is one.

    Raises:
        RayError: ``no_ray``: it is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_enable_metrics_collection", "0")  # they would be offered on all addresses
    if _has_token():  # Ray looks for it by itself only where it looks for the cluster by itself
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        import ray  # pants: no-infer-dep
    except ImportError as error:
        raise RayError(
            f"Ray is not installed here ({error}). It is an extra: pip install 'lesion-serve[ray]'", code="no_ray"
        ) from error
    return ray


@contextmanager
def cluster(address: str | None, *, cpus: int) -> Iterator[ModuleType]:
    """Ray, connected.

    Args:
        address: of a cluster that exists, ``HOST:PORT``; ``None`` starts one for this machine, without a dashboard. Ray
            listens on the machine's own address all the same, whatever it is told, and answers who has its token.
        cpus: of the one that is started.
    Raises:
        RayError: ``no_ray``; ``ray_failed``: the cluster cannot be reached or started.
    """
    ray = import_ray()
    if address is not None:
        _require_listener(address)
    on_end = signal.getsignal(signal.SIGTERM)
    folder = tempfile.mkdtemp(prefix="lesion-ray-")
    environment = child_environment()
    started = {
        "num_cpus": cpus,
        "num_gpus": 0,
        "object_store_memory": OBJECT_STORE_BYTES,
        "include_dashboard": False,
        "_temp_dir": folder,
        "runtime_env": {"env_vars": {"PYTHONPATH": environment["PYTHONPATH"]}},
    }
    try:
        try:
            ray.init(
                address=address or "local", logging_level=logging.WARNING, **({} if address is not None else started)
            )
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise RayError(
                f"The Ray cluster at {address or 'this machine'} cannot be used: {error}. One with tokens needs "
                f"its own in {TOKEN_FILE} or RAY_AUTH_TOKEN here: 'ray get-auth-token' prints it there."
            ) from error
        signal.signal(signal.SIGTERM, on_end)  # Ray has taken it
        yield ray
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def _has_token() -> bool:
    return "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ or TOKEN_FILE.expanduser().is_file()


def _require_listener(address: str) -> None:
    """Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except (OSError, ValueError) as error:
        raise RayError(
            f"The Ray cluster at {address} cannot be reached: {error}. An address is HOST:PORT, as 'ray start --head' "
            "prints it."
        ) from error
