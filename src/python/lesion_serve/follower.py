"""Bring a running engine to where the deployment says it should be, and keep it there.

A new champion is loaded beside the old one and has answered a prediction before it becomes the default; what is not
named any more goes last. Whatever fails, a version that cannot be loaded or a disk that is full, is reported, leaves
the others as they are, and is tried again later and later. A change that comes meanwhile does not wait for a load that
it makes needless.
"""

from __future__ import annotations

import threading
import time
from functools import partial

import attrs
import structlog

from lesion_core.errors import LesionError
from lesion_serve.deployment import Deployed, Deployment
from lesion_serve.deployment_store import DeploymentStore, Report
from lesion_serve.engine.engine import Engine, EngineDownError, LoadAbortedError

POLL_S = 0.2
PASSING_PAUSE_S = 1.0
FIRST_PAUSE_S = 30.0
LONGEST_PAUSE_S = 600.0

log = structlog.get_logger()


class Follower:
    """Follows one deployment with one engine, in a thread of its own from ``start`` to ``stop``."""

    def __init__(self, engine: Engine, store: DeploymentStore) -> None:
        self._engine = engine
        self._store = store
        self._current: Deployment | None = None
        self._contents = dict[str, str]()  # of the versions that were loaded: sha256 of the archive
        self._reached: int | None = None
        self._failures = 0
        self._next_try = 0.0
        self._untold: Report | None = None
        self._is_unreadable = False
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def current(self) -> Deployment | None:
        """The deployment as far as the engine has it: every version in it is loaded. For ``choose_version``."""
        return self._current

    def start(self, begun: Deployment | None = None) -> None:
        """Follow from now on.

        Args:
            begun: a deployment whose champion the engine has loaded; requests are chosen for it at once, while its
                other versions are loaded.
        """
        self._current = begun and _reached(begun, self._engine)
        if begun is not None:
            self._contents[begun.champion.version] = begun.champion.sha256
        self._thread = threading.Thread(target=self._run, name="deployment-follower", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop following, also in the middle of a load; the engine stays as it is."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def follow(self) -> None:
        """Look once, and do what is to be done. Errors are reported and what failed is tried again, never raised."""
        self._tell()
        wanted = self._read()
        if wanted is None:
            return
        if wanted.generation != self._reached:
            self._failures = 0
        elif not self._failures or time.monotonic() < self._next_try:
            return
        self._reached = wanted.generation
        findings = self._converge(wanted)
        if any(isinstance(error, LoadAbortedError) for error in findings.values()):
            self._reached = None  # look again at once: something else is wanted
            return
        self._failures = self._failures + 1 if findings else 0
        is_passing = any(isinstance(error, EngineDownError) for error in findings.values())
        pause_s = min(FIRST_PAUSE_S * 2 ** (self._failures - 1), LONGEST_PAUSE_S)
        self._next_try = time.monotonic() + (PASSING_PAUSE_S if is_passing else pause_s)
        if not is_passing:  # else it is being started again; nothing to tell about the deployment yet
            self._untold = self._report(wanted, findings)
            self._tell()

    def _run(self) -> None:
        while not self._stopping.wait(POLL_S):
            try:
                self.follow()
            except Exception as error:  # whatever it is, the thread must outlive it
                log.error("deployment_not_followed", reason=str(error), exc_info=error)
                self._reached = None
                self._stopping.wait(PASSING_PAUSE_S)

    def _read(self) -> Deployment | None:
        try:
            wanted = self._store.read()
        except (LesionError, OSError) as error:
            if not self._is_unreadable:
                log.error("deployment_unreadable", reason=str(error))
            self._is_unreadable = True
            return None
        self._is_unreadable = False
        return wanted

    def _converge(self, wanted: Deployment) -> dict[str, Exception]:
        """Load, switch, then unload; returns what could not be loaded, and why."""
        findings: dict[str, Exception] = {}
        for one in wanted.all:
            try:
                self._load(one)
                if one == wanted.champion:
                    self._engine.make_default(one.version)
            except LoadAbortedError as error:
                log.info("load_aborted", version=one.version)
                return {one.version: error}
            except Exception as error:
                self._note("version_not_loaded", one.version, error)
                findings[one.version] = error
                if one == wanted.champion:
                    return findings  # the old one goes on with all that it has
            self._current = _reached(wanted, self._engine)
            if one == wanted.champion:
                self._tell_so_far(wanted)
        names = {one.version for one in wanted.all}
        for loaded in self._engine.versions():
            if loaded.version not in names:
                try:
                    self._engine.unload(loaded.version)
                except Exception as error:
                    self._note("version_not_unloaded", loaded.version, error)
                    findings[loaded.version] = error
        return findings

    def _load(self, one: Deployed) -> None:
        is_loaded = one.version in {loaded.version for loaded in self._engine.versions()}
        if is_loaded and self._contents.get(one.version, one.sha256) != one.sha256:
            # Another archive took the version's name after the one that is loaded had been withdrawn, all unseen here.
            self._engine.unload(one.version)
            is_loaded = False
        if not is_loaded:
            self._engine.load(self._store.archive_of(one), is_wanted=partial(self._is_wanted, one))
            self._contents[one.version] = one.sha256

    def _is_wanted(self, one: Deployed) -> bool:
        """Whether a load should go on: until the end, or a change after which it is not the first thing to do."""
        if self._stopping.is_set():
            return False
        now = self._read()
        return now is None or now.generation == self._reached or one == now.champion

    def _default(self) -> str | None:
        return next((one.version for one in self._engine.versions() if one.is_default), None)

    def _note(self, event: str, version: str, error: Exception) -> None:
        unforeseen = None if isinstance(error, LesionError | OSError) else error
        log.error(event, version=version, reason=str(error), tries=self._failures + 1, exc_info=unforeseen)

    def _tell_so_far(self, wanted: Deployment) -> None:
        """The champion answers: who waits for no more than that need not wait for the others."""
        report = self._report(wanted, {})
        pending = tuple(one.version for one in wanted.all if one.version not in report.loaded)
        if pending:
            self._untold = attrs.evolve(report, pending=pending)
            self._tell()

    def _report(self, wanted: Deployment, findings: dict[str, Exception]) -> Report:
        return Report(
            generation=wanted.generation,
            default=self._default(),
            loaded=tuple(one.version for one in self._engine.versions()),
            findings={version: str(error) or type(error).__name__ for version, error in findings.items()},
        )

    def _tell(self) -> None:
        """Write the report that is to be written, again and again until the disk takes it."""
        if self._untold is None:
            return
        try:
            self._store.write_report(self._untold)
        except OSError as error:
            log.error("report_not_written", reason=str(error))
        else:
            self._untold = None


def _reached(wanted: Deployment, engine: Engine) -> Deployment:
    """What of a deployment is loaded; its champion is."""
    loaded = {one.version for one in engine.versions()}
    if wanted.challenger is not None and wanted.challenger.version not in loaded:
        wanted = wanted.without_challenger()
    if wanted.previous is not None and wanted.previous.version not in loaded:
        wanted = attrs.evolve(wanted, previous=None)
    return wanted
