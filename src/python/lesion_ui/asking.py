"""Images asked about: decoded for the page, sent, and kept in the session with what came back."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import attrs
import structlog
from PIL import Image

from lesion_core.errors import LesionError
from lesion_core.imaging import decode_image
from lesion_core.wire import Prediction
from lesion_core.workspace import Endpoint
from lesion_ui.client import GatewayClient
from lesion_ui.show import SHOWN_SIDE_PX, shown_image
from lesion_ui.view import Question

AT_ONCE = 2

log = structlog.get_logger(__name__)


@attrs.frozen(kw_only=True)
class Asked:
    """One image: ``prediction``, or the ``error`` in its place.

    Attributes:
        id, name: of the upload.
        question: what was asked along with it.
        endpoint: who was asked, with which key.
        image: ``None`` where it cannot be read.
    """

    id: str
    name: str
    question: Question
    endpoint: Endpoint = attrs.field(repr=False)
    image: Image.Image | None
    prediction: Prediction | None
    error: LesionError | None

    def is_settled(self, question: Question, endpoint: Endpoint) -> bool:
        """Whether asking again is for the user to decide: there is an answer, or the same would fail once more."""
        return self.error is None or (self.question, self.endpoint) == (question, endpoint)


@attrs.frozen(kw_only=True)
class Upload:
    """One file: ``id`` tells it from others of the same name."""

    id: str
    name: str
    data: bytes


def ask(client: GatewayClient, uploads: Sequence[Upload], question: Question) -> list[Asked]:
    """Ask about every image, two at a time; each has its own answer or its own error."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda one: ask_one(client, one, question), uploads))


def ask_one(client: GatewayClient, upload: Upload, question: Question) -> Asked:
    """Ask about one image. What cannot be read here is not sent."""
    image = prediction = error = None
    try:
        image = shown_image(decode_image(upload.data, shortest_side_px=SHOWN_SIDE_PX // 2))
        prediction = client.predict(
            upload.data, metadata=question.metadata, heat_map=question.heat_map, subject=question.subject
        )
        log.info("prediction_received", request_id=prediction.request_id)
    except LesionError as failure:
        log.warning("prediction_failed", code=failure.code)
        error = failure
    return Asked(
        id=upload.id,
        name=upload.name,
        question=question,
        endpoint=client.endpoint,
        image=image,
        prediction=prediction,
        error=error,
    )
