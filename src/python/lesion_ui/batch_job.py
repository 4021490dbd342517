"""Many images asked about in the background, with progress, and an end on request."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import attrs
import structlog
from PIL import Image

from lesion_core.errors import LesionError
from lesion_core.wire import NOTICE
from lesion_ui.asking import AT_ONCE, Asked, Upload, ask_one
from lesion_ui.client import GatewayClient
from lesion_ui.export import prediction_row, to_csv
from lesion_ui.texts import Texts
from lesion_ui.view import Question, answer_view, problem_view

MOST_IMAGES = 500
THUMBNAIL_PX = 96

log = structlog.get_logger(__name__)


class BatchJob:
    """Asks about each image once, two at a time. Answers are there as they come; images are let go by then."""

    def __init__(self, client: GatewayClient, uploads: Sequence[Upload], question: Question) -> None:
        self.names = [one.name for one in uploads]
        self._results: list[tuple[Asked, str] | None] = [None] * len(uploads)
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(client, list(uploads), question), daemon=True)
        self._thread.start()

    @property
    def total(self) -> int:
        """Images in all."""
        return len(self.names)

    @property
    def results(self) -> list[tuple[Asked, str]]:
        """What has come back, in the order of the files: each with a small picture as a data address."""
        return [one for one in self._results if one is not None]

    @property
    def is_running(self) -> bool:
        """Whether more is to come."""
        return self._thread.is_alive()

    @property
    def is_cancelled(self) -> bool:
        """Whether it was ended before all had come."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Ask about no further image; those that are asked about at this moment still come."""
        if self.is_running:
            self._cancelled.set()

    def wait(self, timeout_s: float) -> None:
        """Until all has come, or for so long."""
        self._thread.join(timeout_s)

    def _run(self, client: GatewayClient, uploads: list[Upload], question: Question) -> None:
        def one(number: int) -> None:
            if self._cancelled.is_set():
                return
            try:
                asked = ask_one(client, uploads[number], question)
            except Exception:
                log.exception("batch_image_failed")
                asked = Asked(
                    id=uploads[number].id,
                    name=uploads[number].name,
                    question=question,
                    endpoint=client.endpoint,
                    image=None,
                    prediction=None,
                    error=LesionError("", code="unexpected"),
                )
            picture = thumbnail(asked.image)
            self._results[number] = (attrs.evolve(asked, image=None), picture)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(one, range(len(uploads))))
        log.info("batch_done", images=self.total, answered=len(self.results), cancelled=self.is_cancelled)


def thumbnail(image: Image.Image | None) -> str:
    """A small JPEG as a data address; empty where there is no image."""
    if image is None:
        return ""
    small = image.convert("RGB")
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=75)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def rows(results: Sequence[tuple[Asked, str]], texts: Texts) -> list[dict[str, object]]:
    """The table: picture, file, answer, probability, risk, and what speaks against relying on it."""
    table: list[dict[str, object]] = []
    for asked, picture in results:
        row: dict[str, object] = {texts("batch.thumbnail"): picture, texts("batch.file"): asked.name}
        if asked.prediction is None:
            assert asked.error is not None
            row |= {texts("batch.answer"): "–", texts("batch.notes"): problem_view(asked.error, texts).title}
        else:
            answer = answer_view(asked.prediction, texts)
            notes = [texts("batch.unusable")] if answer.quality_alert else []
            notes += [texts("batch.unlike")] if asked.prediction.out_of_distribution.is_outside else []
            notes += [note.sentence for note in answer.quality]
            risk = asked.prediction.risk
            row |= {
                texts("batch.answer"): answer.bars[0].label,
                texts("answer.column_probability"): answer.bars[0].text,
                texts("batch.risk"): "–"
                if risk is None
                else f"{texts.percent(risk.probability)} – {texts(f'band.{risk.band}')}",
                texts("batch.notes"): " ".join(notes),
            }
        table.append(row)
    return table


def results_csv(results: Sequence[tuple[Asked, str]]) -> str:
    """One row for each image, with every probability; an image without an answer has the code of the reason."""
    lines: list[dict[str, object]] = []
    for asked, _ in results:
        head: dict[str, object] = {"notice": NOTICE, "file": asked.name, "error": None, "request_id": None}
        if asked.prediction is None:
            lines.append(head | {"error": asked.error.code if asked.error else None})
        else:
            lines.append(head | {"request_id": asked.prediction.request_id} | prediction_row(asked.prediction))
    return to_csv(lines)
