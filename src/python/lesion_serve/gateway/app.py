"""The gateway's application: its routes, and who may use them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

import lesion_serve
from lesion_core.errors import LesionError
from lesion_core.wire import Prediction, to_json
from lesion_serve.engine.engine import Engine
from lesion_serve.gateway.asking import Asking
from lesion_serve.gateway.errors import ForbiddenError, add_error_handlers, as_problem, unexpected_problem
from lesion_serve.gateway.history import History
from lesion_serve.gateway.inputs import read_questions
from lesion_serve.gateway.keys import LOCAL_PRINCIPAL, ApiKeys, Permission, Principal
from lesion_serve.gateway.messages import Label, Model, Models
from lesion_serve.gateway.metrics import Metrics
from lesion_serve.gateway.middleware import UPLOAD_S, Around, TooLargeError
from lesion_serve.gateway.openapi import describe
from lesion_serve.gateway.problems import Problem, problem_response

JSON = "application/json"
LONGEST_FEEDBACK_BYTES = 64 * 1024


@attrs.frozen(kw_only=True, eq=False)
class Gateway:
    """What stands behind the routes.

    Attributes:
        asking: answers questions.
        engine: for readiness and the list of models.
        history: predictions that were given.
        label: of the version that answers now.
        metrics: what is counted.
        keys: who may ask; ``None`` lets everyone who can reach it, for loopback only.
        max_body_bytes: of one request.
        max_images: of one form.
        upload_s: seconds that a request's body may take.
    """

    asking: Asking
    engine: Engine
    history: History
    label: Callable[[], Label]
    metrics: Metrics
    keys: ApiKeys | None
    max_body_bytes: int
    max_images: int
    upload_s: float = UPLOAD_S

    def authorise(self, request: Request, permission: Permission) -> Principal:
        """Who asks.

        Raises:
            AccessError: no key, or one that is not valid.
            ForbiddenError: its role does not allow this.
        """
        if self.keys is None:
            return LOCAL_PRINCIPAL
        principal = self.keys.authenticate(request.headers.get("authorization"))
        request.state.key_id = principal.key_id
        if not principal.may(permission):
            raise ForbiddenError(f"A key with the role {principal.role} does not allow this ({permission}).")
        return principal


def create_app(gateway: Gateway) -> FastAPI:
    """Put the routes together."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await gateway.asking.close()
        await gateway.engine.close()

    app = FastAPI(
        title="Lesion",
        version=lesion_serve.__version__,
        lifespan=lifespan,
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    app.add_middleware(
        Around,
        metrics=gateway.metrics,
        max_body_bytes=gateway.max_body_bytes,
        upload_s=gateway.upload_s,
        unexpected=unexpected_problem,
    )
    add_error_handlers(app, gateway.metrics)
    _add_predictions(app, gateway)
    _add_information(app, gateway)
    describe(app, needs_key=gateway.keys is not None, max_images=gateway.max_images)
    return app


def _add_predictions(app: FastAPI, gateway: Gateway) -> None:
    @app.post("/v1/predictions")
    async def predict(request: Request) -> Response:
        principal = gateway.authorise(request, Permission.PREDICT)
        gateway.asking.require_place(principal)
        questions = await read_questions(request, max_images=gateway.max_images)
        if not questions.is_form:
            prediction = await gateway.asking.ask(questions.items[0], principal)
            _count(gateway.metrics, prediction)
            return Response(to_json(prediction), media_type=JSON)
        answers = await gateway.asking.ask_all(questions.items, principal)
        items = [
            _item(gateway.metrics, question.request_id, answer)
            for question, answer in zip(questions.items, answers, strict=True)
        ]
        return Response(json.dumps({"items": items}, ensure_ascii=False), media_type=JSON)

    @app.get("/v1/predictions/{request_id}")
    async def prediction(request_id: str, request: Request) -> Response:
        principal = gateway.authorise(request, Permission.READ_OWN)
        return _json(await asyncio.to_thread(gateway.history.record, request_id, principal))

    @app.post("/v1/predictions/{request_id}/feedback")
    async def feedback(request_id: str, request: Request) -> Response:
        principal = gateway.authorise(request, Permission.FEEDBACK)
        body = await _short_body(request)
        return _json(await asyncio.to_thread(gateway.history.add_feedback, request_id, body, principal), status=201)


def _add_information(app: FastAPI, gateway: Gateway) -> None:
    @app.get("/v1/models")
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
        return _json(Models(models=rows))

    @app.get("/v1/label")
    async def label(request: Request) -> Response:
        gateway.authorise(request, Permission.MODELS)
        return _json(await asyncio.to_thread(gateway.label))

    @app.get("/healthz")
    async def healthz() -> Response:
        return Response('{"status": "ok"}', media_type=JSON)

    @app.get("/readyz")
    async def readyz(request: Request) -> Response:
        if gateway.engine.is_ready():
            return Response('{"status": "ready"}', media_type=JSON)
        told = Problem(503, "not_ready", "No worker can answer at the moment.", {"Retry-After": "2"})
        return problem_response(told, request_id=request.state.request_id)

    @app.get("/metrics")
    async def scrape(request: Request) -> Response:
        gateway.authorise(request, Permission.METRICS)
        gateway.metrics.ready_workers.clear()  # of versions that are not loaded any more
        for one in gateway.engine.versions():
            gateway.metrics.ready_workers.labels(version=one.version).set(one.ready)
        return Response(gateway.metrics.text(), media_type="text/plain; version=0.0.4")


def _count(metrics: Metrics, prediction: Prediction) -> None:
    metrics.predictions.labels(version=prediction.model.version, top=prediction.top.code).inc()


def _item(metrics: Metrics, request_id: str, answer: Prediction | LesionError) -> dict[str, object]:
    """One item of a list: its own status, and a prediction or a problem."""
    if isinstance(answer, LesionError):
        told = as_problem(answer)
        metrics.refused.labels(code=told.code).inc()
        return {"status": told.status, "prediction": None, "problem": told.members(request_id)}
    _count(metrics, answer)
    return {"status": 200, "prediction": json.loads(to_json(answer)), "problem": None}


async def _short_body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST_FEEDBACK_BYTES:
            raise TooLargeError(LONGEST_FEEDBACK_BYTES)
    return body


def _json(message: object, *, status: int = 200) -> Response:
    return Response(msgspec.json.encode(message), status_code=status, media_type=JSON)
