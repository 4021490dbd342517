"""What the gateway's description says of each route: parameters, bodies, answers and problems, with examples."""

from __future__ import annotations

from typing import Any

from lesion_core.monitoring import MonitoringReport
from lesion_core.service import (
    HEAT_MAP_HEADER,
    METADATA_HEADER,
    SUBJECT_HEADER,
    SUBJECT_PATTERN,
    Feedback,
    Page,
    Versions,
)
from lesion_core.wire import Prediction
from lesion_serve.gateway.examples import EVALUATION, EXAMPLES, REQUEST_ID
from lesion_serve.gateway.inputs import BANDS, FORM, IMAGE_TYPES, JSON, LONGEST_FILTER, REVIEWS
from lesion_serve.gateway.messages import Agree, Comment, Items, Other, ProblemDetails, Promote, Rollback, Status
from lesion_serve.gateway.problems import MEDIA_TYPE
from lesion_serve.store import LONGEST_PAGE

REFERENCE = "#/components/schemas/{name}"


_METADATA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "age_approx": {"type": ["number", "null"], "minimum": 0, "maximum": 120, "description": "In years"},
        "sex": {"enum": ["female", "male", None]},
        "anatom_site_general": {"type": ["string", "null"], "description": "A site of the training data"},
    },
}
_METADATA_EXAMPLE = {"age_approx": 55, "sex": "female", "anatom_site_general": "posterior torso"}
_BYTES = "the bytes of the file, as curl --data-binary @image.jpg sends them"
_HEAT_MAP = "Also draw where the network sees evidence for its most probable diagnosis"
_PSEUDONYM = {"type": "string", "pattern": SUBJECT_PATTERN}
_YES_OR_NO = {"enum": ["true", "false"]}
_FEEDBACK_EXAMPLES = {
    "agree": {"summary": "The answer is right", "value": {"verdict": "agree"}},
    "other": {
        "summary": "Histology found another diagnosis",
        "value": {"verdict": "other", "diagnosis": "BCC", "source": "histology", "comment": "Excised on 12 November"},
    },
}
_FEEDBACK = (Agree, Other, Comment)


def predict(max_images: int) -> dict[str, Any]:
    """Asking about one image, or several."""
    operation = operation_of(
        "Classify one image, or several",
        Prediction,
        problems=(400, 401, 403, 408, 409, 413, 415, 422, 429, 500, 502, 503, 504),
    )
    answers = operation["responses"]["200"]["content"][JSON]
    answers["schema"] = {"anyOf": [_ref(Prediction), _ref(Items)]}
    del answers["example"]
    answers["examples"] = {
        "image": {"summary": "To one image", "value": EXAMPLES[Prediction]},
        "form": {"summary": "To a form with two images", "value": EXAMPLES[Items]},
    }
    binary = {"type": "string", "format": "binary"}
    operation["requestBody"] = {
        "required": True,
        "content": {
            **{kind: {"schema": binary, "example": _BYTES} for kind in IMAGE_TYPES},
            FORM: {
                "schema": {
                    "type": "object",
                    "required": ["images"],
                    "additionalProperties": False,
                    "properties": {
                        "images": {"type": "array", "minItems": 1, "maxItems": max_images, "items": binary},
                        "metadata": {**_METADATA, "description": "Of all images; or a list with one object an image"},
                        "heat_map": {**_YES_OR_NO, "description": _HEAT_MAP},
                        "subject": _PSEUDONYM,
                    },
                },
                "encoding": {"metadata": {"contentType": JSON}},
                "example": {"images": [_BYTES], "metadata": _METADATA_EXAMPLE, "subject": "P-1734"},
            },
        },
    }
    operation["parameters"] = [
        {"name": name, "in": "header", "required": False, "description": text, **shape}
        for name, text, shape in (
            (
                METADATA_HEADER,
                "What is known of the patient",
                {"content": {JSON: {"schema": _METADATA, "example": _METADATA_EXAMPLE}}},
            ),
            (HEAT_MAP_HEADER, _HEAT_MAP, {"schema": _YES_OR_NO, "example": "true"}),
            (
                SUBJECT_HEADER,
                "Your own pseudonym for the patient, for erasure; never a name",
                {"schema": _PSEUDONYM, "example": "P-1734"},
            ),
        )
    ]
    return operation


def feedback() -> dict[str, Any]:
    """Saying what an answer was worth."""
    operation = about_one(
        operation_of(
            "Say what you think of an answer",
            Feedback,
            problems=(400, 401, 403, 404, 408, 409, 413, 415, 422, 503),
            status=201,
        )
    )
    operation["requestBody"] = {
        "required": True,
        "content": {JSON: {"schema": {"anyOf": [_ref(one) for one in _FEEDBACK]}, "examples": _FEEDBACK_EXAMPLES}},
    }
    return operation


def about_one(operation: dict[str, Any]) -> dict[str, Any]:
    """Add the prediction that an operation is about."""
    operation["parameters"] = [
        {
            "name": "request_id",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1},
            "example": REQUEST_ID,
        }
    ]
    return operation


def operation_of(summary: str, message: type, *, problems: tuple[int, ...] = (), status: int = 200) -> dict[str, Any]:
    """An operation that is answered with a message, or with a problem."""
    return {
        "summary": summary,
        "responses": {
            str(status): {"description": "The answer", "content": {JSON: _described(message)}},
            **{
                str(status): {
                    "description": "No answer, and why",
                    "content": {MEDIA_TYPE: _described(ProblemDetails)},
                }
                for status in problems
            },
        },
    }


def text_of(summary: str, example: str, *, problems: tuple[int, ...], media_type: str = "text/plain") -> dict[str, Any]:
    """An operation that is answered with text."""
    operation = operation_of(summary, Status, problems=problems)
    operation["responses"]["200"]["content"] = {media_type: {"schema": {"type": "string"}, "example": example}}
    return operation


def search() -> dict[str, Any]:
    """Looking for predictions."""
    operation = operation_of(
        "Predictions that were given, newest first; a page may hold fewer than 'limit' and still have a 'next'",
        Page,
        problems=(400, 401, 403, 503),
    )
    time = {"type": "string", "format": "date-time"}
    text = {"type": "string", "minLength": 1, "maxLength": LONGEST_FILTER}
    filters: dict[str, dict[str, Any]] = {
        "since": time,
        "until": time,
        "top": {**text, "description": "Code of the most probable class"},
        "version": text,
        "band": {"enum": list(BANDS)},
        "review": {"enum": list(REVIEWS)},
        "subject": _PSEUDONYM,
        "limit": {"type": "integer", "minimum": 1, "maximum": LONGEST_PAGE, "default": 50},
        "cursor": {"type": "string", "pattern": "^[0-9]{1,18}$", "description": "'next' of the page before"},
    }
    operation["parameters"] = [
        {"name": name, "in": "query", "required": False, "schema": schema} for name, schema in filters.items()
    ]
    return operation


def monitoring() -> dict[str, Any]:
    """The report over many predictions."""
    operation = operation_of("What the last days looked like", MonitoringReport, problems=(400, 401, 403, 404, 503))
    days = {"type": "integer", "minimum": 1, "maximum": 366, "default": 30}
    operation["parameters"] = [{"name": "days", "in": "query", "required": False, "schema": days}]
    return operation


def change() -> dict[str, Any]:
    """Changing what serves."""
    operation = operation_of(
        "Promote a deployed version, or go back to the champion before",
        Versions,
        problems=(400, 401, 403, 404, 409, 413, 415, 422, 503, 504),
    )
    examples = {
        "promote": {
            "summary": "A challenger takes over",
            "value": {"action": "promote", "version": "7", "why": "better on head and neck"},
        },
        "rollback": {"summary": "Back to the champion before", "value": {"action": "rollback", "why": "misses BCC"}},
    }
    operation["requestBody"] = {
        "required": True,
        "content": {JSON: {"schema": {"anyOf": [_ref(Promote), _ref(Rollback)]}, "examples": examples}},
    }
    return operation


def evaluation() -> dict[str, Any]:
    """How good a version was found to be."""
    operation = operation_of("How good a version was found to be", Status, problems=(401, 403, 404, 503))
    operation["responses"]["200"]["content"] = {JSON: {"schema": {"type": "object"}, "example": EVALUATION}}
    return operation


def about_version(operation: dict[str, Any]) -> dict[str, Any]:
    """Add the version that an operation is about."""
    version = {"type": "string", "minLength": 1}
    operation["parameters"] = [{"name": "version", "in": "path", "required": True, "schema": version}]
    return operation


def _described(message: type) -> dict[str, Any]:
    return {"schema": _ref(message), "example": EXAMPLES[message]}


def _ref(message: type) -> dict[str, str]:
    return {"$ref": REFERENCE.format(name=message.__name__)}
