"""A worker of batches without a model: what a file says decides what becomes of it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from lesion_core.taxonomy import ISIC_2019
from lesion_core.wire import ModelIdentity, Problem
from lesion_serve.batch.answering import Answer, Model, Task
from lesion_serve.batch.worker import main
from support.predictions import make_prediction

MODEL = Model(
    folder="/nowhere",
    identity=ModelIdentity(name="skin-lesion", version="5", backbone="none", bundle_digest="0" * 64),
    codes=ISIC_2019.codes,
    layout="full",
)
DEADLY, DEADLY_ONCE, BAD = b"deadly", b"deadly once", b"bad"


class FakeAnswers:
    """Answers like ``Answerer``; each question is noted in ``asked.log`` of the image's folder."""

    def __init__(self, model: Model) -> None:
        if model.folder == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        self._model = model

    def answer(self, task: Task) -> Answer:
        """Die, refuse or answer."""
        path = Path(task.path)
        note(path)
        data = path.read_bytes()
        if data == DEADLY or (data == DEADLY_ONCE and asked(path.parent).count(path.name) == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if data == BAD:
            return self._model.answer(task, "1" * 64, Problem(code="corrupt_image", message="bad"))
        return self._model.answer(task, "1" * 64, make_prediction())


def note(path: Path) -> None:
    """Write down that an image was asked about."""
    handle = os.open(path.parent / "asked.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(handle, f"{path.name}\n".encode())
    os.close(handle)


def asked(folder: Path) -> list[str]:
    """Names of the images that were asked about, as often as they were."""
    log = folder / "asked.log"
    return log.read_text().splitlines() if log.exists() else []


if __name__ == "__main__":
    main(FakeAnswers)
