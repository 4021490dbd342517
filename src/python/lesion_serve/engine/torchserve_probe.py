"""Whether a version really answers: TorchServe calls itself healthy before a worker is, so the sign is a prediction."""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import httpx
from PIL import Image

from lesion_serve.archive import ArchiveInfo
from lesion_serve.engine.engine import EngineDownError, LoadAbortedError, ModelLoadError
from lesion_serve.engine.torchserve_client import prediction_url
from lesion_serve.engine.torchserve_instance import TorchServeInstance

LOAD_TIMEOUT_S = 180.0
PAUSE_S = 0.2


def await_first_answer(
    instance: TorchServeInstance,
    archive: ArchiveInfo,
    *,
    since: int,
    is_wanted: Callable[[], bool],
    has_ended: Callable[[], bool],
) -> None:
    """Wait until a worker of an archive has answered for a blank image.

    Args:
        instance: where it is being loaded.
        archive: the version.
        since: where the log ended before.
        is_wanted: whether the version still is.
        has_ended: whether this start of TorchServe is over.
    Raises:
        ModelLoadError: a worker cannot load it, with the reason; or none answered for ``LOAD_TIMEOUT_S``.
        LoadAbortedError: it is not wanted any more.
        EngineDownError: it is over.
    """
    process = instance.process
    deadline = time.monotonic() + LOAD_TIMEOUT_S
    while time.monotonic() < deadline:
        if has_ended():
            raise EngineDownError(f"TorchServe ended while it loaded version {archive.version}.")
        if not is_wanted():
            raise LoadAbortedError(f"Version {archive.version} is not wanted any more.")
        if reason := instance.load_failure(archive, since=since):
            raise ModelLoadError(
                f"A TorchServe worker could not load the model: {reason} (the whole log: {process.log_path})"
            )
        workers = instance.management.workers(archive.serving_name, archive.version)
        if any(worker.is_ready for worker in workers) and _answers(instance, archive):
            return
        time.sleep(PAUSE_S)
    raise ModelLoadError(
        f"No TorchServe worker answered for version {archive.version} within {LOAD_TIMEOUT_S:.0f} s. The end of "
        f"{process.log_path}:\n{process.log_tail()}"
    )


def _answers(instance: TorchServeInstance, archive: ArchiveInfo) -> bool:
    url = prediction_url(instance.ports.inference, archive.serving_name, archive.version)
    headers = {"Authorization": f"Bearer {instance.token}", "Content-Type": "image/png"}
    try:
        answer = httpx.post(url, content=_blank_image(), headers=headers, timeout=30, trust_env=False)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200


def _blank_image() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (160, 160), (200, 160, 140)).save(stream, "PNG")
    return stream.getvalue()
