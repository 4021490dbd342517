"""The engine without other processes: predictors in threads of this one, for tests and laptops.

Requests go through the same handler as under TorchServe, so that what is refused there is refused here, in the same
words. It runs the code of this installation; the code in an archive is not used.
"""

from __future__ import annotations

import asyncio
import json
import queue
import shutil
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import structlog

from lesion_core.wire import Prediction
from lesion_serve.archive import ArchiveInfo, copy_archive, require_plugin
from lesion_serve.engine.engine import (
    BusyError,
    DeadlineError,
    EngineError,
    LoadAbortedError,
    LoadedVersion,
    ModelLoadError,
    UnknownVersionError,
    always,
    identity_of,
)
from lesion_serve.engine.torchserve_client import read_answer
from lesion_serve.handler import Handler

log = structlog.get_logger()


class _Call:
    """What the handler sees of one request: the methods of ``ts.context.Context`` that it uses."""

    def __init__(self, request_id: str, headers: Mapping[str, str]) -> None:
        self.status = 200
        self._request_id = request_id
        self._headers = dict(headers)

    def get_request_id(self, index: int) -> str:
        return self._request_id

    def get_all_request_header(self, index: int) -> dict[str, str]:
        return self._headers

    def set_response_content_type(self, index: int, value: str) -> None:
        """It is JSON, always."""

    def set_response_status(self, code: int, phrase: str, idx: int) -> None:
        self.status = code


class _Loading:
    """What the handler sees while it loads a model."""

    def __init__(self, folder: Path) -> None:
        self.system_properties = {"model_dir": str(folder)}


class _Version:
    """One version: a handler for each thread, and room for so many requests."""

    def __init__(self, archive: ArchiveInfo, handlers: list[Handler], *, queue_size: int) -> None:
        self.archive = archive
        self.threads = len(handlers)
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix=f"predictor-{archive.version}")
        self._handlers: queue.SimpleQueue[Handler] = queue.SimpleQueue()
        for handler in handlers:
            self._handlers.put(handler)
        self._room = threading.BoundedSemaphore(self.threads + queue_size)

    def submit(self, image: bytes, call: _Call) -> Future[str]:
        """Queue a request; a place is taken until it is done, also if nobody waits for it any more."""
        if not self._room.acquire(blocking=False):
            raise BusyError(f"{self.threads} requests are being answered and as many wait as may. Ask again later.")
        try:
            future = self._pool.submit(self._run, image, call)
        except RuntimeError as error:  # it was unloaded a moment ago
            self._room.release()
            raise UnknownVersionError(self.archive.version, ()) from error
        future.add_done_callback(lambda _: self._room.release())
        return future

    def close(self) -> None:
        """Answer what waits, and end the threads."""
        self._pool.shutdown(wait=True)

    def _run(self, image: bytes, call: _Call) -> str:
        handler = self._handlers.get()
        try:
            return handler.handle([{"body": image}], call)[0]
        finally:
            self._handlers.put(handler)


class InProcessEngine:
    """Implements ``lesion_serve.engine.engine.Engine`` with ``threads`` predictors for each version.

    ``queue_size`` requests of each version may wait beyond those that are being answered.
    """

    def __init__(self, *, threads: int = 1, queue_size: int = 32) -> None:
        self._threads = threads
        self._queue_size = queue_size
        self._loaded: dict[str, _Version] = {}  # replaced, never changed: other threads look at it
        self._default: str | None = None
        self._control = threading.RLock()

    async def predict(
        self,
        image: bytes,
        *,
        request_id: str,
        timeout_s: float,
        content_type: str | None = None,
        version: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Prediction:
        """See ``Engine.predict``."""
        asked = self._loaded.get(version or self._default or "")
        if asked is None:
            raise UnknownVersionError(version, tuple(self._loaded))
        sent = {**(headers or {}), **({"Content-Type": content_type} if content_type else {})}
        call = _Call(request_id, sent)
        future = asked.submit(image, call)
        try:
            async with asyncio.timeout(timeout_s):
                answer = await asyncio.wrap_future(future)
        except TimeoutError as error:
            raise DeadlineError(f"No answer within {timeout_s:g} s.") from error
        return read_answer(call.status, answer.encode(), request_id)

    def versions(self) -> tuple[LoadedVersion, ...]:
        """See ``Engine.versions``."""
        found = [
            LoadedVersion(
                identity=identity_of(one.archive),
                ready=one.threads,
                wanted=one.threads,
                is_default=version == self._default,
            )
            for version, one in self._loaded.items()
        ]
        return tuple(sorted(found, key=lambda one: not one.is_default))

    def is_ready(self) -> bool:
        """See ``Engine.is_ready``."""
        return self._default is not None

    def restarts(self) -> Mapping[str, int]:
        """See ``Engine.restarts``. There are no processes."""
        return {}

    def load(self, archive: ArchiveInfo, *, is_wanted: Callable[[], bool] = always) -> None:
        """See ``Engine.load``."""
        require_plugin(archive)
        if (present := self._loaded.get(archive.version)) is not None:
            if present.archive.sha256 == archive.sha256:
                return
            raise EngineError(f"Version {archive.version} is loaded with another content.", code="version_taken")
        started = time.perf_counter()
        handlers = _handlers_of(archive, self._threads, is_wanted)
        with self._control:
            version = _Version(archive, handlers, queue_size=self._queue_size)
            self._loaded = {**self._loaded, archive.version: version}
            self._default = self._default or archive.version
        log.info("version_loaded", version=archive.version, seconds=round(time.perf_counter() - started, 1))

    def make_default(self, version: str) -> None:
        """See ``Engine.make_default``."""
        with self._control:
            if version not in self._loaded:
                raise UnknownVersionError(version, tuple(self._loaded))
            self._default = version

    def unload(self, version: str) -> None:
        """See ``Engine.unload``."""
        with self._control:
            if (going := self._loaded.get(version)) is None:
                return
            if version == self._default:
                raise EngineError(f"Version {version} is the default one; make another the default first.")
            self._loaded = {name: one for name, one in self._loaded.items() if name != version}
        going.close()

    def stop(self) -> None:
        """See ``Engine.stop``."""
        with self._control:
            going, self._loaded, self._default = self._loaded, {}, None
        for one in going.values():
            one.close()

    async def close(self) -> None:
        """Nothing is held open for the event loop."""


def _handlers_of(archive: ArchiveInfo, count: int, is_wanted: Callable[[], bool]) -> list[Handler]:
    """Loaded handlers; each has run its network once.

    Raises:
        LoadAbortedError: it is not wanted any more.
        ModelLoadError: the archive cannot be loaded.
        ArchiveError: it was altered since it was read.
    """
    folder = Path(tempfile.mkdtemp(prefix="lesion-archive-"))
    try:
        copy_archive(archive, folder / "archive.mar")
        with zipfile.ZipFile(folder / "archive.mar") as packed:
            packed.extractall(folder)
        handlers = list[Handler]()
        for _ in range(count):
            if not is_wanted():
                raise LoadAbortedError(f"Version {archive.version} is not wanted any more.")
            handler = Handler()
            handler.initialize(_Loading(folder))
            handlers.append(handler)
        return handlers
    except (RuntimeError, OSError, zipfile.BadZipFile, json.JSONDecodeError) as error:
        raise ModelLoadError(f"Version {archive.version} could not be loaded: {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
