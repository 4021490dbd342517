"""What answers: the interface that every way of running a predictor has, and the errors that it has in common.

Answering is asynchronous; loading and unloading block for seconds and belong into a thread. All of it may be called
from several threads at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import attrs

from lesion_core.errors import LesionError
from lesion_core.wire import ModelIdentity, Prediction, Problem
from lesion_serve.archive import ArchiveInfo


class EngineError(LesionError):
    """No answer, for a reason that lies with the engine. Trying again may help."""

    code = "engine_failed"


class RefusedError(EngineError):
    """The model's own answer: this input gets no prediction. Trying again cannot help; ``status`` is HTTP's."""

    def __init__(self, status: int, problem: Problem) -> None:
        super().__init__(problem.message, code=problem.code)
        self.status = status
        self.problem = problem


class BusyError(EngineError):
    """As many requests wait as may wait. Ask again later."""

    code = "busy"


class WorkerDiedError(EngineError):
    """The process that had the request is gone, and the request with it. Asking once more is safe."""

    code = "worker_died"


class EngineDownError(EngineError):
    """Nothing answers at the moment: the engine starts, is started again, or was stopped."""

    code = "engine_down"


class DeadlineError(EngineError):
    """The time that the request was given is over."""

    code = "deadline_passed"


class UnknownVersionError(EngineError):
    """No such version is loaded."""

    code = "unknown_version"

    def __init__(self, version: str | None, loaded: tuple[str, ...]) -> None:
        what = "No model" if version is None else f"No version {version!r}"
        super().__init__(f"{what} is loaded. Loaded: {', '.join(loaded) or 'none'}.")
        self.version = version
        self.loaded = loaded


class LoadAbortedError(EngineError):
    """It was being loaded, and is not wanted any more. Nothing of it stays."""

    code = "load_aborted"


class ModelLoadError(EngineError):
    """A model that cannot be loaded, now or at the next try."""

    code = "model_did_not_load"


@attrs.frozen(kw_only=True)
class LoadedVersion:
    """One version that an engine holds.

    ``ready`` workers of ``wanted`` can answer at this moment. ``finding`` says what is wrong with it, if anything is.
    """

    identity: ModelIdentity
    ready: int
    wanted: int
    is_default: bool
    finding: str | None = None

    @property
    def version(self) -> str:
        """The registered version; it names one thing only within an engine."""
        return self.identity.version


def always() -> bool:
    """It is wanted, whatever happens."""
    return True


class Engine(Protocol):
    """Versions of a model, loaded side by side; one of them is the default."""

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
        """Answer for one image.

        Args:
            image: bytes of an image file.
            request_id: named in the answer.
            timeout_s: time for all of it, waiting included.
            content_type: of ``image``; ``None`` where it is not known.
            version: that shall answer; the default one where it is ``None``.
            headers: further ones for the handler, which knows what they ask for.
        Raises:
            RefusedError: the handler refuses this input and says why.
            BusyError, WorkerDiedError, EngineDownError, DeadlineError, UnknownVersionError: see there.
            EngineError: anything else.
        """
        ...

    def versions(self) -> tuple[LoadedVersion, ...]:
        """What is loaded, the default first."""
        ...

    def is_ready(self) -> bool:
        """Whether the default version can answer now."""
        ...

    def restarts(self) -> Mapping[str, int]:
        """How many processes were started again after they had ended by themselves, by what they are."""
        ...

    def load(self, archive: ArchiveInfo, *, is_wanted: Callable[[], bool] = always) -> None:
        """Load a version beside the others and let it make one prediction; the first becomes the default.

        Args:
            archive: of the version.
            is_wanted: asked again and again meanwhile.
        Raises:
            LoadAbortedError: it is not wanted any more. Nothing of it stays.
            ModelLoadError: it cannot be loaded. Nothing of it stays.
            PluginMissingError, PluginVersionError: its backbone cannot be built here.
            EngineError: another model has this version's name, or the engine is down.
        """
        ...

    def make_default(self, version: str) -> None:
        """Let a loaded version answer what names none. No request is lost.

        Raises:
            UnknownVersionError: it is not loaded.
        """
        ...

    def unload(self, version: str) -> None:
        """Forget a version once nobody waits for its answers; does nothing where it is not loaded.

        Raises:
            EngineError: it is the default.
        """
        ...

    def stop(self) -> None:
        """End it. Safe to call twice."""
        ...

    async def close(self) -> None:
        """Close what ``predict`` holds open in this event loop; ``stop`` ends the rest."""
        ...


def identity_of(archive: ArchiveInfo) -> ModelIdentity:
    """Who answers where this archive is loaded."""
    return ModelIdentity(
        name=archive.model_name,
        version=archive.version,
        backbone=archive.backbone.name,
        bundle_digest=archive.bundle_digest,
    )
