"""How a run ends: what its record says of it, what MLflow hears, and the way on where it made no bundle."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import structlog

from lesion_core.address import without_password
from lesion_core.disk import full_disk
from lesion_core.errors import LesionError
from lesion_core.workspace import REGISTERED_NAME
from lesion_train.checkpoint import Checkpoints
from lesion_train.loop import DivergedError
from lesion_train.record import RunRecord
from lesion_train.tracking import BackgroundMirror, RegisteredVersion

log = structlog.get_logger()

RESUME_HINT = "Free some, and go on from the last checkpoint: lesion-train fit --data DIR --resume {run}"


def resume_command(
    command: str, data: Path, record: RunRecord, *, tracking_uri: str | None, cache: Path | None
) -> list[str]:
    """Words of the command that goes on with an interrupted run, with the options that its record does not hold."""
    words = ["lesion-train", command, "--data", str(data), "--resume", str(record.folder)]
    words += [] if tracking_uri is None else ["--tracking-uri", tracking_uri]
    return words + ([] if cache is None else ["--cache", str(cache)])


class RunStoppedError(LesionError):
    """Raised by ``watch`` to end a run that is not worth going on with; its checkpoints are removed."""

    code = "run_stopped"


@contextmanager
def ending(
    record: RunRecord, mirror: BackgroundMirror, checkpoints: Checkpoints, *, again: Sequence[str]
) -> Iterator[None]:
    """Write down how a run ended that made no bundle; a full disk gets its name, and the way on from there.

    Args:
        record: of the run.
        mirror: that it is sent with.
        checkpoints: that it goes on from.
        again: words of the command that goes on with an interrupted run; a run of a study has none of its own.
    """
    try:
        yield
    except RunStoppedError:
        checkpoints.remove()
        _end(record, mirror, "KILLED")
        raise
    except DivergedError:
        checkpoints.remove()  # it would diverge again
        _end(record, mirror, "FAILED")
        raise
    except KeyboardInterrupt:
        if record.parent is None:
            log.warning("run_interrupted", resume=without_password(shlex.join(again)))
        _end(record, mirror, "KILLED")
        raise
    except Exception as error:
        _end(record, mirror, "FAILED")
        if named := full_disk(error, record.folder, RESUME_HINT.format(run=shlex.quote(str(record.folder)))):
            raise named from error
        raise


def published(mirror: BackgroundMirror, register: bool) -> RegisteredVersion | None:
    """Send the rest of the run, and register it if it is to be; a failure is logged, since nothing is lost."""
    try:
        if register:
            return mirror.register(REGISTERED_NAME)
        mirror.finish()
    except (LesionError, OSError) as error:  # also a damaged promotion log, or a full disk: the run itself is finished
        log.warning("registration_failed" if register else "tracking_failed", reason=str(error))
    return None


def _end(record: RunRecord, mirror: BackgroundMirror, status: str) -> None:
    try:
        record.finish(status)
    except OSError as error:  # on a full disk; what ended the run is told all the same
        log.warning("end_not_written", reason=str(error))
    published(mirror, register=False)
