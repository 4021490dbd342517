"""Bring a running engine to where the deployment says it should be, and keep it there.

A new champion is loaded beside the old one and has answered a prediction before it becomes the default; what is not
named any more goes last. A version that cannot be loaded is reported, leaves the others as they are, and is tried again
later and later.
"""

from __future__ import annotations

import threading
import time

import attrs
import structlog

from lesion_core.errors import LesionError
from lesion_serve.deployment import Deployed, Deployment
from lesion_serve.deployment_store import DeploymentStore, Report
from lesion_serve.engine.engine import Engine, EngineDownError

POLL_S = 0.2
FIRST_PAUSE_S = 30.0
LONGEST_PAUSE_S = 600.0

log = structlog.get_logger()


class Follower:
    """Follows one deployment with one engine, in a thread of its own from ``start`` to ``stop``."""

    def __init__(self, engine: Engine, store: DeploymentStore) -> None:
        self._engine = engine
        self._store = store
        self._current: Deployment | None = None
        self._reached: int | None = None
        self._failures = 0
        self._next_try = 0.0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def current(self) -> Deployment | None:
        """The deployment as far as the engine has it: every version in it is loaded. For ``choose_version``."""
        return self._current

    def start(self) -> None:
        """Follow from now on."""
        self._thread = threading.Thread(target=self._run, name="deployment-follower", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop following; the engine stays as it is."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def follow(self) -> None:
        """Look once, and do what is to be done. Errors are reported, never raised."""
        try:
            wanted = self._store.read()
        except LesionError as error:
            if self._failures == 0:
                log.error("deployment_unreadable", reason=error.message)
            self._failures = 1
            return
        if wanted is None:
            return
        if wanted.generation == self._reached and (not self._failures or time.monotonic() < self._next_try):
            return
        if wanted.generation != self._reached:
            self._failures = 0
        self._reached = wanted.generation
        findings = self._converge(wanted)
        self._failures = self._failures + 1 if findings else 0
        if findings:
            is_passing = any(isinstance(error, EngineDownError) for error in findings.values())
            pause_s = 1.0 if is_passing else min(FIRST_PAUSE_S * 2 ** (self._failures - 1), LONGEST_PAUSE_S)
            self._next_try = time.monotonic() + pause_s
            if is_passing:
                return  # it is being started again; nothing to tell about the deployment yet
        self._tell(wanted, {version: error.message for version, error in findings.items()})

    def _run(self) -> None:
        while not self._stopping.wait(POLL_S):
            try:
                self.follow()
            except OSError as error:  # a full disk, for one; the thread must outlive it
                log.error("deployment_not_followed", reason=str(error))

    def _converge(self, wanted: Deployment) -> dict[str, LesionError]:
        """Load, switch, then unload; returns what could not be loaded, and why."""
        findings: dict[str, LesionError] = {}
        for one in wanted.all:
            try:
                self._load(one)
                if one == wanted.champion:
                    self._engine.make_default(one.version)
            except LesionError as error:
                log.error("version_not_loaded", version=one.version, reason=error.message, tries=self._failures + 1)
                findings[one.version] = error
                if one == wanted.champion:
                    return findings  # the old one goes on with all that it has
            self._current = _reached(wanted, self._engine)
        names = {one.version for one in wanted.all}
        for loaded in self._engine.versions():
            if loaded.version not in names:
                try:
                    self._engine.unload(loaded.version)
                except LesionError as error:
                    findings[loaded.version] = error
        return findings

    def _load(self, one: Deployed) -> None:
        if one.version not in {loaded.version for loaded in self._engine.versions()}:
            self._engine.load(self._store.archive_of(one))

    def _tell(self, wanted: Deployment, findings: dict[str, str]) -> None:
        versions = self._engine.versions()
        self._store.write_report(
            Report(
                generation=wanted.generation,
                default=next((one.version for one in versions if one.is_default), None),
                loaded=tuple(one.version for one in versions),
                findings=findings,
            )
        )


def _reached(wanted: Deployment, engine: Engine) -> Deployment:
    """What of a deployment is loaded; its champion is."""
    loaded = {one.version for one in engine.versions()}
    if wanted.challenger is not None and wanted.challenger.version not in loaded:
        wanted = wanted.without_challenger()
    if wanted.previous is not None and wanted.previous.version not in loaded:
        wanted = attrs.evolve(wanted, previous=None)
    return wanted
