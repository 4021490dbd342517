"""The gateway's description of itself (OpenAPI 3.1). Messages are described from the classes that are sent."""

from __future__ import annotations

from typing import Any

import msgspec

import lesion_serve
from lesion_core.monitoring import MonitoringReport
from lesion_core.service import Caller, Feedback, Label, Page, Record, SimilarCases, Versions
from lesion_core.wire import Prediction
from lesion_serve.gateway.examples import CARD, METRICS
from lesion_serve.gateway.messages import (
    Agree,
    Comment,
    Items,
    Models,
    Other,
    ProblemDetails,
    Promote,
    Rollback,
    Status,
)
from lesion_serve.gateway.operations import (
    REFERENCE,
    about_one,
    about_version,
    change,
    evaluation,
    feedback,
    monitoring,
    operation_of,
    predict,
    search,
    text_of,
)

_MESSAGES = (
    *(Prediction, Items, Page, Record, SimilarCases, Feedback, Agree, Other, Comment),
    *(Models, Label, Versions, Promote, Rollback, Caller, MonitoringReport, Status, ProblemDetails),
)


def describe(*, needs_key: bool, max_images: int) -> dict[str, Any]:
    """What ``/openapi.json`` says."""
    _, schemas = msgspec.json.schema_components(_MESSAGES, ref_template=REFERENCE)
    components: dict[str, Any] = {"schemas": schemas}
    if needs_key:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    paths = {
        ("/v1/predictions", "post"): predict(max_images),
        ("/v1/predictions/{request_id}", "get"): about_one(
            operation_of("A prediction that was given, with its feedback", Record, problems=(400, 401, 403, 404, 503))
        ),
        ("/v1/predictions/{request_id}/similar", "get"): about_one(
            operation_of("Reference images like the one asked about", SimilarCases, problems=(401, 403, 404, 503))
        ),
        ("/v1/predictions/{request_id}/feedback", "post"): feedback(),
        ("/v1/predictions", "get"): search(),
        ("/v1/caller", "get"): operation_of("Who the key stands for, and what it may do", Caller, problems=(401, 403)),
        ("/v1/versions", "get"): operation_of(
            "Deployed versions, the champion first, and how they came to be", Versions, problems=(401, 403, 503)
        ),
        ("/v1/versions/{version}/card", "get"): about_version(
            text_of("The model card of a version", CARD, problems=(401, 403, 404, 503), media_type="text/markdown")
        ),
        ("/v1/versions/{version}/evaluation", "get"): about_version(evaluation()),
        ("/v1/deployment", "post"): change(),
        ("/v1/monitoring", "get"): monitoring(),
        ("/v1/models", "get"): operation_of("Loaded versions", Models, problems=(401, 403)),
        ("/v1/label", "get"): operation_of(
            "Intended use, version, limits and measured quality of what answers", Label, problems=(401, 403, 503)
        ),
        ("/healthz", "get"): operation_of("Is the gateway alive?", Status),
        ("/readyz", "get"): operation_of("Can it answer?", Status, problems=(503,)),
        ("/metrics", "get"): text_of("Counters for Prometheus", METRICS, problems=(401, 403)),
    }
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Lesion gateway",
            "version": lesion_serve.__version__,
            "description": "Skin lesion classification. Research use only: not a medical device, not a diagnosis.",
        },
        "paths": {},
        "components": components,
    }
    for (path, method), operation in paths.items():
        if needs_key and path not in ("/healthz", "/readyz"):
            operation["security"] = [{"key": []}]
        document["paths"].setdefault(path, {})[method] = operation
    return document
