"""The gateway's application, and its routes about predictions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from lesion_core.errors import LesionError
from lesion_core.wire import Prediction, to_json
from lesion_serve.gateway.errors import add_error_handlers, as_problem
from lesion_serve.gateway.gateway import Gateway
from lesion_serve.gateway.information import information_routes, json_response, version_routes
from lesion_serve.gateway.inputs import JSON, json_body, read_questions, read_search
from lesion_serve.gateway.keys import Permission
from lesion_serve.gateway.metrics import Metrics
from lesion_serve.gateway.middleware import Around
from lesion_serve.gateway.openapi import describe


def create_app(gateway: Gateway) -> Starlette:
    """Put the routes together."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await gateway.asking.close()
        await gateway.engine.close()

    gateway.metrics.watch_restarts(gateway.engine.restarts)
    description = describe(needs_key=gateway.keys is not None, max_images=gateway.max_images)
    around = Middleware(
        Around,
        metrics=gateway.metrics,
        max_body_bytes=gateway.max_body_bytes,
        upload_s=gateway.upload_s,
    )
    routes = [*_prediction_routes(gateway), *version_routes(gateway), *information_routes(gateway, description)]
    app = Starlette(routes=routes, middleware=[around], lifespan=lifespan)
    add_error_handlers(app, gateway.metrics)
    return app


def _prediction_routes(gateway: Gateway) -> list[Route]:
    async def predict(request: Request) -> Response:
        principal = gateway.authorise(request, Permission.PREDICT)
        gateway.asking.require_place(principal)
        questions = await read_questions(request, max_images=gateway.max_images)
        if not questions.is_form:
            prediction = await gateway.asking.ask(questions.items[0], principal)
            gateway.metrics.count(prediction)
            return Response(to_json(prediction), media_type=JSON)
        answers = await gateway.asking.ask_all(questions.items, principal)
        items = [
            _item(gateway.metrics, question.request_id, answer)
            for question, answer in zip(questions.items, answers, strict=True)
        ]
        return Response(json.dumps({"items": items}, ensure_ascii=False), media_type=JSON)

    async def predictions(request: Request) -> Response:
        principal = gateway.authorise(request, Permission.READ_OWN)
        search = read_search(request.query_params)
        return json_response(await asyncio.to_thread(gateway.history.page, search, principal))

    async def prediction(request: Request) -> Response:
        principal = gateway.authorise(request, Permission.READ_OWN)
        return json_response(
            await asyncio.to_thread(gateway.history.record, request.path_params["request_id"], principal)
        )

    async def similar(request: Request) -> Response:
        principal = gateway.authorise(request, Permission.READ_OWN)
        return json_response(
            await asyncio.to_thread(gateway.history.similar, request.path_params["request_id"], principal)
        )

    async def feedback(request: Request) -> Response:
        principal = gateway.authorise(request, Permission.FEEDBACK)
        body = await json_body(request)
        said = await asyncio.to_thread(gateway.history.add_feedback, request.path_params["request_id"], body, principal)
        return json_response(said, status=201)

    return [
        Route("/v1/predictions", predict, methods=["POST"]),
        Route("/v1/predictions", predictions),
        Route("/v1/predictions/{request_id}", prediction),
        Route("/v1/predictions/{request_id}/similar", similar),
        Route("/v1/predictions/{request_id}/feedback", feedback, methods=["POST"]),
    ]


def _item(metrics: Metrics, request_id: str, answer: Prediction | LesionError) -> dict[str, object]:
    """One item of a list: its own status, and a prediction or a problem."""
    if isinstance(answer, LesionError):
        told = as_problem(answer)
        metrics.refused.labels(code=told.code).inc()
        return {"status": told.status, "prediction": None, "problem": told.members(request_id)}
    metrics.count(answer)
    return {"status": 200, "prediction": json.loads(to_json(answer)), "problem": None}
