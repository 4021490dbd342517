"""The gateway's description of itself (OpenAPI 3.1). Messages are described from the classes that are sent."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from lesion_core.wire import Prediction
from lesion_serve.gateway.inputs import FORM, IMAGE_TYPES, SUBJECT, SUBJECT_PATTERN
from lesion_serve.gateway.messages import (
    Agree,
    Comment,
    Feedback,
    Items,
    Label,
    Models,
    Other,
    ProblemDetails,
    Record,
    Status,
)
from lesion_serve.gateway.problems import MEDIA_TYPE
from lesion_serve.request_headers import HEAT_MAP, METADATA

JSON = "application/json"
_REF = "#/components/schemas/{name}"


_METADATA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "age_approx": {"type": ["number", "null"], "minimum": 0, "maximum": 120, "description": "In years"},
        "sex": {"enum": ["female", "male", None]},
        "anatom_site_general": {"type": ["string", "null"], "description": "A site of the training data"},
    },
}
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
_MESSAGES = (Prediction, Items, Models, Label, Record, Feedback, *_FEEDBACK, Status, ProblemDetails)


def describe(app: FastAPI, *, needs_key: bool, max_images: int) -> None:
    """Let ``app`` answer ``/openapi.json`` with our description."""
    document: dict[str, Any] = {}

    def openapi() -> dict[str, Any]:
        if not document:
            document.update(_document(app, needs_key=needs_key, max_images=max_images))
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way


def _document(app: FastAPI, *, needs_key: bool, max_images: int) -> dict[str, Any]:
    document = get_openapi(
        title="Lesion gateway",
        version=app.version,
        routes=app.routes,
        description="Skin lesion classification. Research use only: not a medical device, not a diagnosis.",
    )
    _, schemas = msgspec.json.schema_components(_MESSAGES, ref_template=_REF)
    components: dict[str, Any] = {"schemas": schemas}
    if needs_key:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    document["components"] = components
    paths = {
        ("/v1/predictions", "post"): _predict(max_images),
        ("/v1/predictions/{request_id}", "get"): _about_one(
            _operation("A prediction that was given, with its feedback", Record, problems=(400, 401, 403, 404, 503))
        ),
        ("/v1/predictions/{request_id}/feedback", "post"): _feedback(),
        ("/v1/models", "get"): _operation("Loaded versions", Models, problems=(401, 403)),
        ("/v1/label", "get"): _operation(
            "Intended use, version, limits and measured quality of what answers", Label, problems=(401, 403, 503)
        ),
        ("/healthz", "get"): _operation("Is the gateway alive?", Status),
        ("/readyz", "get"): _operation("Can it answer?", Status, problems=(503,)),
        ("/metrics", "get"): _text("Counters for Prometheus", problems=(401, 403)),
    }
    for (path, method), operation in paths.items():
        if needs_key and path not in ("/healthz", "/readyz"):
            operation["security"] = [{"key": []}]
        document["paths"][path][method] = operation
    return document


def _predict(max_images: int) -> dict[str, Any]:
    operation = _operation(
        "Classify one image, or several",
        Prediction,
        problems=(400, 401, 403, 408, 409, 413, 415, 422, 429, 500, 502, 503, 504),
    )
    answers = operation["responses"]["200"]["content"][JSON]
    answers["schema"] = {"anyOf": [_ref(Prediction), _ref(Items)]}
    binary = {"type": "string", "format": "binary"}
    operation["requestBody"] = {
        "required": True,
        "content": {
            **{kind: {"schema": binary} for kind in IMAGE_TYPES},
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
            },
        },
    }
    operation["parameters"] = [
        {"name": name, "in": "header", "required": False, "description": text, **shape}
        for name, text, shape in (
            (METADATA, "What is known of the patient", {"content": {JSON: {"schema": _METADATA}}}),
            (HEAT_MAP, _HEAT_MAP, {"schema": _YES_OR_NO}),
            (SUBJECT, "Your own pseudonym for the patient, for erasure; never a name", {"schema": _PSEUDONYM}),
        )
    ]
    return operation


def _feedback() -> dict[str, Any]:
    operation = _about_one(
        _operation(
            "Say what you think of an answer",
            Feedback,
            problems=(400, 401, 403, 404, 408, 413, 422, 503),
            status=201,
        )
    )
    operation["requestBody"] = {
        "required": True,
        "content": {JSON: {"schema": {"anyOf": [_ref(one) for one in _FEEDBACK]}, "examples": _FEEDBACK_EXAMPLES}},
    }
    return operation


def _about_one(operation: dict[str, Any]) -> dict[str, Any]:
    operation["parameters"] = [
        {"name": "request_id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    ]
    return operation


def _operation(summary: str, message: type, *, problems: tuple[int, ...] = (), status: int = 200) -> dict[str, Any]:
    return {
        "summary": summary,
        "responses": {
            str(status): {"description": "The answer", "content": {JSON: {"schema": _ref(message)}}},
            **{
                str(status): {
                    "description": "No answer, and why",
                    "content": {MEDIA_TYPE: {"schema": _ref(ProblemDetails)}},
                }
                for status in problems
            },
        },
    }


def _text(summary: str, *, problems: tuple[int, ...]) -> dict[str, Any]:
    operation = _operation(summary, Status, problems=problems)
    operation["responses"]["200"]["content"] = {"text/plain": {"schema": {"type": "string"}}}
    return operation


def _ref(message: type) -> dict[str, str]:
    return {"$ref": _REF.format(name=message.__name__)}
