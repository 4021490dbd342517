"""The engine that serves with TorchServe: versions side by side in one frontend, each in processes of its own.

A thread watches. A frontend that died, or that does not answer any more, is started again on the same ports with the
same versions; a worker that stays away is given a new start, also after TorchServe itself has given it up, which it
does after five minutes and for good. Both wait longer from try to try.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import structlog

from lesion_core.errors import LesionError
from lesion_core.processes import ChildProcess
from lesion_core.wire import Prediction
from lesion_core.workspace import Endpoint
from lesion_serve.archive import ArchiveError, ArchiveInfo, require_plugin
from lesion_serve.engine.engine import (
    BusyError,
    EngineDownError,
    EngineError,
    LoadedVersion,
    UnknownVersionError,
    always,
    identity_of,
)
from lesion_serve.engine.torchserve_client import PredictionClient, prediction_url
from lesion_serve.engine.torchserve_instance import TorchServeInstance
from lesion_serve.engine.torchserve_layout import TorchServeSettings
from lesion_serve.engine.torchserve_probe import await_first_answer
from lesion_serve.engine.torchserve_watch import VersionWatch

DRAIN_S = 60.0
SILENT_S = 30.0
STABLE_S = 60.0
LONGEST_WAIT_S = 60.0
POLL_S = 0.5

log = structlog.get_logger()


class TorchServeEngine:
    """One running TorchServe. Implements ``lesion_serve.engine.engine.Engine``."""

    def __init__(self, instance: TorchServeInstance, settings: TorchServeSettings) -> None:
        self._instance = instance
        self._settings = settings
        self._loaded: dict[str, VersionWatch] = {}  # replaced, never changed: other threads look at it
        self._default: str | None = None
        self._serving_name = ""
        self._client = PredictionClient()
        self._waiting: Counter[str] = Counter()
        self._restarts = {"torchserve": 0, "worker": 0}
        self._is_up = True
        self._control = threading.RLock()
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None
        self._on_endpoint: Callable[[Endpoint], None] | None = None

    @classmethod
    def start(
        cls,
        archive: ArchiveInfo,
        settings: TorchServeSettings,
        *,
        serving: Path,
        on_endpoint: Callable[[Endpoint], None] | None = None,
    ) -> TorchServeEngine:
        """Start with one archive and wait until it has answered a prediction.

        Args:
            archive: as ``read_archive`` or a deployment gave it; another content by now is not run.
            settings: ports, workers, Java.
            serving: folder for the log.
            on_endpoint: called with the address and its token, now and after each new start.
        Raises:
            PluginMissingError, PluginVersionError: the archive's backbone cannot be built here; nothing was started.
            ArchiveError: the archive was altered meanwhile.
            PortTakenError: a port is taken; names the option.
            ModelLoadError: a worker could not load the archive; says why.
            LesionError: ``did_not_start``: anything else; quotes its log.
        """
        require_plugin(archive)
        engine = cls(TorchServeInstance.start(settings, serving=serving), settings)
        try:
            engine.load(archive)
        except BaseException:
            engine.stop()
            raise
        engine._on_endpoint = on_endpoint
        engine._tell_endpoint()
        engine._watcher = threading.Thread(target=engine._watch, name="torchserve-watcher", daemon=True)
        engine._watcher.start()
        return engine

    @property
    def endpoint(self) -> Endpoint:
        """Where the default version answers, and the token of the present start."""
        url = prediction_url(self._instance.ports.inference, self._serving_name, None)
        return Endpoint(url=url, token=self._instance.token)

    @property
    def process(self) -> ChildProcess:
        """TorchServe's present process."""
        return self._instance.process

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
        name = version or self._default or ""
        with self._waits_for(name):  # first of all, or it could be unloaded after it was looked up
            asked = self._loaded.get(name)
            if asked is None:
                raise UnknownVersionError(version, tuple(self._loaded))
            self._require_alive(asked)
            url = prediction_url(self._instance.ports.inference, self._serving_name, version)
            try:
                return await self._client.predict(
                    url,
                    self._instance.token,
                    image,
                    request_id=request_id,
                    timeout_s=timeout_s,
                    content_type=content_type,
                    headers=headers or {},
                )
            except BusyError:
                self._require_alive(asked)  # TorchServe says the same where there is no worker
                raise

    def versions(self) -> tuple[LoadedVersion, ...]:
        """See ``Engine.versions``."""
        found = [
            LoadedVersion(
                identity=identity_of(watch.archive),
                ready=watch.ready if self._is_up else 0,
                wanted=self._settings.workers,
                is_default=version == self._default,
                finding=watch.finding,
            )
            for version, watch in self._loaded.items()
        ]
        return tuple(sorted(found, key=lambda one: not one.is_default))

    def is_ready(self) -> bool:
        """See ``Engine.is_ready``."""
        return any(one.is_default and one.ready > 0 for one in self.versions())

    def restarts(self) -> Mapping[str, int]:
        """See ``Engine.restarts``. The workers of a TorchServe that was started again are none."""
        return dict(self._restarts)

    def load(self, archive: ArchiveInfo, *, is_wanted: Callable[[], bool] = always) -> None:
        """See ``Engine.load``."""
        require_plugin(archive)
        if (present := self._loaded.get(archive.version)) is not None:
            if present.archive.sha256 == archive.sha256:
                return
            raise EngineError(
                f"Version {archive.version} is loaded with another content: restart the server, or give it a version "
                "of its own.",
                code="version_taken",
            )
        if self._loaded and archive.serving_name != self._serving_name:
            raise EngineError(
                f"This server serves {self._serving_name}, the archive is packed as {archive.serving_name}.",
                code="other_name",
            )
        process, since = self.process, self._instance.log_size()
        with self._control:
            self._instance.management.unregister(archive.serving_name, archive.version)  # left by a load that failed
            self._instance.management.register(self._instance.add_archive(archive), workers=self._settings.workers)
        try:
            await_first_answer(
                self._instance,
                archive,
                since=since,
                is_wanted=is_wanted,
                has_ended=lambda: (
                    self._stopping.is_set() or process.exit_code is not None or self.process is not process
                ),
            )
        except BaseException:
            with contextlib.suppress(EngineError):
                self._instance.management.unregister(archive.serving_name, archive.version)
            raise
        with self._control:
            if self.process is not process:
                raise EngineDownError(f"TorchServe was started again while it loaded version {archive.version}.")
            watch = VersionWatch(archive, wanted=self._settings.workers, stuck_after_s=self._settings.stuck_after_s)
            self._loaded = {**self._loaded, archive.version: watch}
            if self._default is None:
                self._default, self._serving_name = archive.version, archive.serving_name
        log.info("version_loaded", version=archive.version, bundle=archive.bundle_digest[:16])

    def make_default(self, version: str) -> None:
        """See ``Engine.make_default``."""
        with self._control:
            if version not in self._loaded:
                raise UnknownVersionError(version, tuple(self._loaded))
            if version == self._default:
                return
            self._instance.management.set_default(self._serving_name, version)
            self._default = version
        log.info("default_changed", version=version)

    def unload(self, version: str) -> None:
        """See ``Engine.unload``."""
        with self._control:
            if version not in self._loaded:
                return
            if version == self._default:
                raise EngineError(f"Version {version} is the default one; make another the default first.")
            going = self._loaded[version]
            self._loaded = {name: watch for name, watch in self._loaded.items() if name != version}
        deadline = time.monotonic() + DRAIN_S
        while self._waiting[version] and time.monotonic() < deadline:
            time.sleep(0.05)
        with self._control:
            try:
                self._instance.management.unregister(self._serving_name, version)
            except EngineError:
                self._loaded = {version: going, **self._loaded}  # or nobody would try again, and its workers stay
                raise
        log.info("version_unloaded", version=version)

    def stop(self) -> None:
        """End Java and its workers, and remove the folder. Safe to call twice."""
        self._stopping.set()
        self._instance.process.stop()  # the watcher may be waiting until it is up again
        if self._watcher is not None:
            self._watcher.join()
            self._watcher = None
        self._instance.stop()

    async def close(self) -> None:
        """Close the connections of ``predict``; ``stop`` ends the rest."""
        await self._client.close()

    def _require_alive(self, asked: VersionWatch) -> None:
        if not self._is_up:
            raise EngineDownError("TorchServe is being started again; ask again in a few seconds.")
        if asked.finding is not None and asked.ready == 0:
            raise EngineDownError(f"Version {asked.archive.version} has no worker: {asked.finding}")

    @contextlib.contextmanager
    def _waits_for(self, version: str) -> Iterator[None]:
        self._waiting[version] += 1
        try:
            yield
        finally:
            self._waiting[version] -= 1

    def _tell_endpoint(self) -> None:
        if self._on_endpoint is not None:
            self._on_endpoint(self.endpoint)

    def _watch(self) -> None:
        last_sign = started_at = time.monotonic()
        failures = 0
        while not self._stopping.wait(POLL_S):
            try:
                if self._is_up and self.process.exit_code is None:
                    self._look_after_workers()
                    last_sign = time.monotonic()
                    if last_sign - started_at > STABLE_S:
                        failures = 0
                    continue
                log.error("torchserve_ended", exit_code=self.process.exit_code)
            except (EngineError, OSError) as error:
                if time.monotonic() - last_sign < SILENT_S and self.process.exit_code is None:
                    continue
                log.error("torchserve_silent", reason=str(error))
            if failures and self._stopping.wait(min(LONGEST_WAIT_S, 2.0**failures)):
                return
            failures += 1
            try:
                self._start_again()
                last_sign = started_at = time.monotonic()
            except (LesionError, OSError) as error:
                log.error("torchserve_restart_failed", tries=failures, reason=str(error))

    def _look_after_workers(self) -> None:
        for version, watch in self._loaded.items():
            management, name = self._instance.management, watch.archive.serving_name
            workers = management.workers(name, version)
            wanted = watch.update(workers, now=time.monotonic())
            self._restarts["worker"] += watch.replaced
            if wanted is None:
                continue
            since = watch.log_size
            watch.finding = self._instance.load_failure(watch.archive, since=since) or "its process died."
            watch.log_size = self._instance.log_size()
            log.error("worker_given_up", version=version, tries=watch.tries, reason=watch.finding)
            with self._control:
                if watch.ready == 0:
                    management.scale(name, version, 0)  # or TorchServe takes the dead for the living
                management.scale(name, version, wanted)

    def _start_again(self) -> None:
        """The same ports, folder and versions; new keys. The default version comes first."""
        with self._control:
            self._is_up = False
            for watch in self._loaded.values():
                watch.reset()
            self._instance.process.stop()
            self._instance.start_process()
            for version in sorted(self._loaded, key=lambda version: version != self._default):
                self._register_again(version)
            self._is_up = True
        self._restarts["torchserve"] += 1
        self._tell_endpoint()
        log.warning("torchserve_restarted", versions=list(self._loaded))

    def _register_again(self, version: str) -> None:
        """Without its archive no version comes back, and the default one is not kept down by another."""
        try:
            name = self._instance.add_archive(self._loaded[version].archive)
        except (ArchiveError, FileNotFoundError) as error:
            if version == self._default:
                raise
            log.error("version_lost", version=version, reason=str(error))
            self._loaded = {name: watch for name, watch in self._loaded.items() if name != version}
        else:
            self._instance.management.register(name, workers=self._settings.workers)
