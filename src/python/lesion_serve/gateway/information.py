"""The gateway's routes about itself: who asks, what serves, how it fares."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import attrs
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from lesion_core.service import Caller, to_json
from lesion_serve.gateway.gateway import Gateway
from lesion_serve.gateway.inputs import JSON, json_body, whole_number
from lesion_serve.gateway.keys import Permission
from lesion_serve.gateway.messages import Model, Models
from lesion_serve.gateway.problems import Problem, problem_response

LONGEST_DAYS = 366


def information_routes(gateway: Gateway, description: dict[str, Any]) -> list[Route]:
    """The routes for everybody, and those about models.

    Args:
        gateway: that they are of.
        description: that ``/openapi.json`` answers.
    """
    described = json.dumps(description, ensure_ascii=False)

    async def openapi(_: Request) -> Response:
        return Response(described, media_type=JSON)

    async def caller(request: Request) -> Response:
        principal = gateway.authorise(request, None)
        return json_response(
            Caller(
                key_id=principal.key_id,
                name=principal.name,
                role=principal.role.value,
                permissions=tuple(sorted(one.value for one in principal.permissions)),
            )
        )

    async def models(request: Request) -> Response:
        gateway.authorise(request, Permission.MODELS)
        rows = tuple(
            Model(
                name=one.identity.name,
                version=one.version,
                backbone=one.identity.backbone,
                bundle_digest=one.identity.bundle_digest,
                is_default=one.is_default,
                ready_workers=one.ready,
                workers=one.wanted,
                finding=one.finding,
            )
            for one in gateway.engine.versions()
        )
        return json_response(Models(models=rows))

    async def label(request: Request) -> Response:
        gateway.authorise(request, Permission.MODELS)
        return json_response(await asyncio.to_thread(gateway.label))

    async def monitoring(request: Request) -> Response:
        gateway.authorise(request, Permission.MONITOR)
        days = whole_number("days", request.query_params.get("days", "30"), most=LONGEST_DAYS)
        return json_response(await gateway.reporting.report(days))

    async def healthz(_: Request) -> Response:
        return Response('{"status": "ok"}', media_type=JSON)

    async def readyz(request: Request) -> Response:
        if gateway.engine.is_ready():
            return Response('{"status": "ready"}', media_type=JSON)
        told = Problem(503, "not_ready", "No worker can answer at the moment.", {"Retry-After": "2"})
        return problem_response(told, request_id=request.state.request_id)

    async def scrape(request: Request) -> Response:
        gateway.authorise(request, Permission.METRICS)
        gateway.metrics.ready_workers.clear()  # of versions that are not loaded any more
        for one in gateway.engine.versions():
            gateway.metrics.ready_workers.labels(version=one.version).set(one.ready)
        return Response(gateway.metrics.text(), media_type="text/plain; version=0.0.4")

    return [
        Route("/v1/caller", caller),
        Route("/v1/models", models),
        Route("/v1/label", label),
        Route("/v1/monitoring", monitoring),
        Route("/openapi.json", openapi),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", scrape),
    ]


def version_routes(gateway: Gateway) -> list[Route]:
    """The routes about deployed versions."""

    async def versions(request: Request) -> Response:
        gateway.authorise(request, Permission.MODELS)
        return json_response(await asyncio.to_thread(gateway.deployments.versions))

    async def card(request: Request) -> Response:
        gateway.authorise(request, Permission.MODELS)
        text = await asyncio.to_thread(gateway.deployments.card, request.path_params["version"])
        return Response(text, media_type="text/markdown; charset=utf-8")

    async def evaluation(request: Request) -> Response:
        gateway.authorise(request, Permission.MODELS)
        text = await asyncio.to_thread(gateway.deployments.evaluation, request.path_params["version"])
        return Response(text, media_type=JSON)

    async def deployment(request: Request) -> Response:
        principal = gateway.authorise(request, Permission.DEPLOY)
        body = await json_body(request)
        return json_response(await asyncio.to_thread(gateway.deployments.change, body, principal))

    return [
        Route("/v1/versions", versions),
        Route("/v1/versions/{version}/card", card),
        Route("/v1/versions/{version}/evaluation", evaluation),
        Route("/v1/deployment", deployment, methods=["POST"]),
    ]


def json_response(message: attrs.AttrsInstance, *, status: int = 200) -> Response:
    """A value of ``lesion_core.service``, or one like it, as an answer."""
    return Response(to_json(message), status_code=status, media_type=JSON)
