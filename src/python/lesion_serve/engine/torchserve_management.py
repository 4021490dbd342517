"""TorchServe's management address: register versions, scale their workers, move the default. Every call blocks."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import quote

import attrs
import httpx

from lesion_serve.engine.engine import EngineDownError, EngineError

TIMEOUT_S = 30.0


@attrs.frozen(kw_only=True)
class WorkerStatus:
    """One worker as TorchServe describes it. ``pid`` is the one of its process; ``None`` where it has none."""

    is_ready: bool
    pid: int | None

    @property
    def is_dead(self) -> bool:
        """It has no process."""
        return self.pid is None


class Management:
    """One frontend's management address, until it is started again with another key."""

    def __init__(self, port: int, key: str) -> None:
        self._client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {key}"},
            timeout=TIMEOUT_S,
            trust_env=False,
        )

    def register(self, file_name: str, *, workers: int) -> None:
        """Register an archive that lies in the model store, and start its workers without waiting for them.

        The first version of a name becomes its default.
        """
        self._call("POST", "/models", url=file_name, initial_workers=workers, synchronous="false")

    def workers(self, name: str, version: str) -> tuple[WorkerStatus, ...]:
        """The workers of a version, those included that TorchServe has given up."""
        answer = self._call("GET", f"/models/{_path(name, version)}")
        try:
            described: list[dict[str, Any]] = answer.json()[0]["workers"]
            return tuple(
                WorkerStatus(is_ready=worker["status"] == "READY", pid=_living(worker.get("pid")))
                for worker in described
            )
        except (ValueError, LookupError, TypeError) as error:
            raise EngineError(f"TorchServe describes {name} {version} in a way that is not known: {error}.") from error

    def scale(self, name: str, version: str, workers: int) -> None:
        """Start or end workers; waits only for those that end."""
        wait = "true" if workers == 0 else "false"
        self._call("PUT", f"/models/{_path(name, version)}", min_worker=workers, max_worker=workers, synchronous=wait)

    def set_default(self, name: str, version: str) -> None:
        """Let ``/predictions/NAME`` be answered by this version."""
        self._call("PUT", f"/models/{_path(name, version)}/set-default")

    def unregister(self, name: str, version: str) -> None:
        """End a version's workers and forget it, if it is there. The default cannot go while there are others."""
        self._call("DELETE", f"/models/{_path(name, version)}", may_be_missing=True)

    def is_up(self) -> bool:
        """Whether the address answers and takes our key."""
        try:
            return self._client.get("/models", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _call(self, method: str, path: str, *, may_be_missing: bool = False, **parameters: str | int) -> httpx.Response:
        try:
            answer = self._client.request(method, path, params=parameters or None)
        except httpx.HTTPError as error:
            raise EngineDownError(f"TorchServe's management address does not answer ({error!r}).") from error
        if answer.is_success or (may_be_missing and answer.status_code == 404):
            return answer
        raise EngineError(f"TorchServe does not {method} {path}: {answer.status_code} {answer.text.strip()[:300]}")


def _path(name: str, version: str) -> str:
    return f"{quote(name, safe='')}/{quote(version, safe='')}"


def _living(pid: int | None) -> int | None:
    """The number of a process that there is."""
    if pid is None or pid <= 0:
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    return pid
