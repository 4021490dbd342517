"""TorchServe's side of the predictor: requests in, wire JSON out; bad input never harms the others in a batch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from lesion_core.errors import ImageError, LesionError
from lesion_core.imaging import MEDIA_TYPES
from lesion_core.wire import Problem, to_json
from lesion_serve.archive import ARCHIVED_BUNDLE, ARCHIVED_FACTS
from lesion_serve.predictor import Predictor
from lesion_serve.request_headers import RequestHeaderError, header_of, read_headers

log = structlog.get_logger()

STATUS = {
    "empty_body": (400, "Bad Request"),
    "too_many_bytes": (413, "Payload Too Large"),
    "too_many_pixels": (413, "Payload Too Large"),
    "unsupported_format": (415, "Unsupported Media Type"),
    "unsupported_encoding": (415, "Unsupported Media Type"),
    "unsupported_request": (415, "Unsupported Media Type"),
}
UNPROCESSABLE = (422, "Unprocessable Entity")
ACCEPTED = ("application/octet-stream", *MEDIA_TYPES.values())


class Handler:
    """What TorchServe calls. ``context`` is its ``ts.context.Context``."""

    def __init__(self) -> None:
        self._predictor: Predictor | None = None

    def initialize(self, context: Any) -> None:
        """Load the archive's bundle; an exception here makes the worker fail to start, with the reason in the log."""
        folder = Path(context.system_properties["model_dir"])
        facts = json.loads((folder / ARCHIVED_FACTS).read_text())
        try:
            predictor = Predictor.load(folder / ARCHIVED_BUNDLE, version=facts["version"], threads=facts["threads"])
            predictor.warm_up()
        except Exception as error:  # TorchServe names the reason in its log for this one kind only
            raise RuntimeError(f"{type(error).__name__}: {error}") from error
        self._predictor = predictor
        log.info("model_loaded", **facts, digest=predictor.identity.bundle_digest)

    def handle(self, data: Sequence[Mapping[str, Any]], context: Any) -> list[str]:
        """Answer every item of a batch with a prediction, or with a problem and a status of its own."""
        return [self._answer(item, context, index) for index, item in enumerate(data)]

    def _answer(self, item: Mapping[str, Any], context: Any, index: int) -> str:
        request_id = context.get_request_id(index) or ""
        context.set_response_content_type(index, "application/json")
        try:
            if self._predictor is None:
                raise LesionError("The model is not loaded.", code="not_loaded")
            headers = context.get_all_request_header(index)
            body = _image_bytes(item, header_of(headers, "Content-Type"))
            asked = read_headers(headers)
            prediction = self._predictor.predict(
                body,
                metadata=asked.metadata,
                heat_map=asked.heat_map,
                features=asked.features,
                request_id=request_id,
            )
            return to_json(prediction)
        except (ImageError, RequestHeaderError) as error:
            code, phrase = STATUS.get(error.code, UNPROCESSABLE)
            problem = Problem(code=error.code, message=error.message, request_id=request_id)
        except Exception as error:  # one bad request must not fail its batch; the log has the trace
            log.exception("prediction_failed", request_id=request_id, kind=type(error).__name__)
            code, phrase = 500, "Internal Server Error"
            problem = Problem(
                code="prediction_failed",
                message="The server could not process this image. The reason is in its log.",
                request_id=request_id,
            )
        context.set_response_status(code=code, phrase=phrase, idx=index)
        return to_json(problem)


def _image_bytes(item: Mapping[str, Any], content_type: str | None) -> bytes:
    """The raw body of a request.

    Raises:
        ImageError: ``empty_body``; ``unsupported_request``: a form or JSON instead of the bytes of an image.
    """
    media_type = (content_type or ACCEPTED[0]).split(";")[0].strip().lower()
    body = item.get("body", item.get("data", b""))
    if media_type not in ACCEPTED or not isinstance(body, (bytes, bytearray)):
        raise ImageError(
            f"Send the bytes of one image as the whole body, with one of the content types {', '.join(ACCEPTED)}, "
            f"not {media_type}: curl -H 'Content-Type: image/jpeg' --data-binary @image.jpg …",
            code="unsupported_request",
        )
    return bytes(body)
