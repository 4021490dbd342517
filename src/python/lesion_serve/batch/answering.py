"""One image of a batch: from a file to the cells of its row. Whatever is wrong with an image stands in its row."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

import attrs
import structlog

from lesion_core.decision.metadata import PatientMetadata
from lesion_core.errors import ImageError
from lesion_core.imaging import DEFAULT_LIMITS
from lesion_core.wire import ModelIdentity, Prediction, Problem
from lesion_serve.batch.layouts import Cells, layout_of
from lesion_serve.batch.settings import LayoutName
from lesion_serve.predictor import Predictor

log = structlog.get_logger()


@attrs.frozen
class Task:
    """One image to answer for.

    Attributes:
        number: of the row.
        path: absolute, as ``os.fsdecode`` gives it.
        metadata: what is known of the patient.
    """

    number: int
    path: str
    metadata: PatientMetadata | None = None

    def to_json(self) -> bytes:
        """For another process; ``from_json`` reads it."""
        return json.dumps(attrs.astuple(self)).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Task:
        """Read what ``to_json`` wrote."""
        number, path, metadata = json.loads(text)
        return cls(number, path, metadata and PatientMetadata(**dict(zip(_METADATA, metadata, strict=True))))


_METADATA = tuple(field.name for field in attrs.fields(PatientMetadata))


@attrs.frozen
class Answer:
    """What is written down of one image.

    Attributes:
        number: of the row.
        error: stable code of what is wrong with the image; ``None`` where it was answered.
        cells: what stands in its row beside the name.
    """

    number: int
    error: str | None
    cells: Cells

    def to_json(self) -> bytes:
        """For another process; ``from_json`` reads it."""
        return json.dumps(attrs.astuple(self), allow_nan=False).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Answer:
        """Read what ``to_json`` wrote."""
        number, error, cells = json.loads(text)
        return cls(number, error, tuple(cells))


# Takes tasks as it can do with them, and gives answers as they come, in any order.
Answering = Callable[[Iterator[Task]], Generator[Sequence[Answer], None, None]]


@attrs.frozen(kw_only=True)
class Model:
    """What a process needs to answer.

    Attributes:
        folder: of a bundle that was verified.
        identity: as the output names it.
        codes: of its classes, none of the above last.
        layout: of the output.
    """

    folder: str
    identity: ModelIdentity
    codes: tuple[str, ...]
    layout: LayoutName

    def answer(self, task: Task, sha256: str | None, said: Prediction | Problem) -> Answer:
        """What is written down of an image for which this was said."""
        cells = layout_of(self.layout, self.codes).cells(self.identity, sha256, said)
        return Answer(task.number, said.code if isinstance(said, Problem) else None, cells)


class Answerer:
    """A loaded model that answers tasks, one at a time, with one thread."""

    def __init__(self, model: Model) -> None:
        """Load it, and run the network once.

        Raises:
            LesionError: see ``Predictor.load``.
        """
        self._model = model
        self._predictor = Predictor.load(Path(model.folder), version=model.identity.version, threads=1)
        self._predictor.warm_up()

    def answer(self, task: Task) -> Answer:
        """Answer for one image; never raises for what is wrong with it."""
        sha256: str | None = None
        said: Prediction | Problem
        try:
            with open(task.path, "rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                if size > DEFAULT_LIMITS.max_bytes:
                    sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
                    raise ImageError(
                        f"The image has {size:,} bytes; at most {DEFAULT_LIMITS.max_bytes:,} are accepted.",
                        code="too_many_bytes",
                    )
                data = stream.read()
            sha256 = hashlib.sha256(data).hexdigest()
            said = self._predictor.predict(data, metadata=task.metadata)
        except ImageError as error:
            said = Problem(code=error.code, message=error.message)
        except OSError as error:
            said = Problem(code="unreadable", message=f"The file cannot be read: {error.strerror}.")
        except Exception as error:  # one image must not end the batch; the log has the trace
            log.exception("prediction_failed", number=task.number, kind=type(error).__name__)
            said = Problem(
                code="prediction_failed", message="The image could not be processed. The log has the reason."
            )
        return self._model.answer(task, sha256, said)
