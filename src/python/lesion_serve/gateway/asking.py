"""One image, asked of the engine: admitted, answered by the version whose turn it is, recorded, then returned."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import attrs
import structlog

from lesion_core.errors import LesionError
from lesion_core.wire import Prediction
from lesion_serve.deployment import Choice, Deployment, choose_version
from lesion_serve.engine.engine import Engine, EngineDownError, WorkerDiedError
from lesion_serve.gateway.admission import Admission
from lesion_serve.gateway.keys import Principal
from lesion_serve.gateway.metrics import Metrics
from lesion_serve.request_headers import HEAT_MAP

SHADOWS_AT_ONCE = 4

log = structlog.get_logger()


@attrs.frozen(kw_only=True)
class Question:
    """One image and what is asked of it.

    Attributes:
        request_id: of this image; names it in answer, record and log.
        image: bytes of an image file.
        content_type: of ``image``; ``None`` where it is not known.
        headers: further ones for the handler, such as what is known of the patient.
        subject: the caller's own pseudonym for the patient, or ``None``.
    """

    request_id: str
    image: bytes
    content_type: str | None
    headers: Mapping[str, str] = attrs.field(factory=dict)
    subject: str | None = None


class Recorder(Protocol):
    """Where an answer is recorded."""

    def record(self, question: Question, principal: Principal, prediction: Prediction, *, is_shadow: bool) -> None:
        """Keep it; it lasts when this returns.

        Raises:
            LesionError: it could not be kept.
        """
        ...


class NotRecordedError(LesionError):
    """There is an answer, but it could not be recorded, so it must not leave.

    ``duplicate_request``: the client has used this id before.
    """

    code = "not_recorded"


class Asking:
    """Puts questions to an engine. For one event loop."""

    def __init__(
        self,
        engine: Engine,
        recorder: Recorder,
        admission: Admission,
        metrics: Metrics,
        *,
        deployment: Callable[[], Deployment | None],
        deadline_s: float,
    ) -> None:
        """Put it together.

        Args:
            engine: answers.
            recorder: keeps what was answered.
            admission: says which questions are taken on.
            metrics: counts.
            deployment: what is loaded at this moment; ``None`` before the first version is.
            deadline_s: seconds that one question may take in all.
        """
        self._engine = engine
        self._recorder = recorder
        self._admission = admission
        self._metrics = metrics
        self._deployment = deployment
        self._deadline_s = deadline_s
        self._shadows: set[asyncio.Task[None]] = set()

    async def ask(self, question: Question, principal: Principal) -> Prediction:
        """The recorded answer.

        Raises:
            NotAdmittedError: there is too much to do.
            EngineError: there is no answer; see its subclasses.
            NotRecordedError: there is one that could not be recorded.
        """
        choice = self._choose(question.request_id)
        async with self._admission.place(principal.key_id):
            prediction = await self._answer(question, choice.answering)
        await self._record(question, principal, prediction, is_shadow=False)
        self._ask_shadows(question, principal, choice)
        return prediction

    async def close(self) -> None:
        """Wait for the answers of challengers that are still to be recorded."""
        await asyncio.gather(*self._shadows, return_exceptions=True)

    def _choose(self, request_id: str) -> Choice:
        if (deployment := self._deployment()) is None:
            raise EngineDownError("No model is loaded yet.")
        return choose_version(deployment, request_id)

    async def _answer(self, question: Question, version: str) -> Prediction:
        """Ask; once more where the worker died that had the question, as long as there is time."""
        deadline = time.monotonic() + self._deadline_s
        started = time.perf_counter()
        try:
            prediction = await self._ask_once(question, version, self._deadline_s)
        except WorkerDiedError:
            self._metrics.retries.inc()
            log.warning("asked_again", request_id=question.request_id, version=version)
            prediction = await self._ask_once(question, version, max(0.0, deadline - time.monotonic()))
        self._metrics.engine_seconds.labels(version=version).observe(time.perf_counter() - started)
        return prediction

    async def _ask_once(self, question: Question, version: str, timeout_s: float) -> Prediction:
        return await self._engine.predict(
            question.image,
            request_id=question.request_id,
            timeout_s=timeout_s,
            content_type=question.content_type,
            version=version,
            headers=question.headers,
        )

    async def _record(
        self, question: Question, principal: Principal, prediction: Prediction, *, is_shadow: bool
    ) -> None:
        started = time.perf_counter()
        try:
            await asyncio.to_thread(self._recorder.record, question, principal, prediction, is_shadow=is_shadow)
        except LesionError as error:
            self._metrics.unrecorded.inc()
            if error.code == "duplicate_request":
                raise NotRecordedError(
                    f"There is a prediction {question.request_id!r} already: get it by GET /v1/predictions/"
                    f"{question.request_id}, or send another X-Request-ID.",
                    code=error.code,
                ) from error
            raise NotRecordedError(
                "The answer could not be recorded, so it is withheld. Tell your engineer; asking again is safe."
            ) from error
        self._metrics.record_seconds.observe(time.perf_counter() - started)

    def _ask_shadows(self, question: Question, principal: Principal, choice: Choice) -> None:
        """Never at the cost of a client: left out where there is anything else to do."""
        for version in choice.shadows:
            if len(self._shadows) >= SHADOWS_AT_ONCE or self._admission.expected_wait_s() > 0:
                self._metrics.shadows.labels(outcome="left_out").inc()
                continue
            task = asyncio.get_running_loop().create_task(self._ask_shadow(question, principal, version))
            self._shadows.add(task)
            task.add_done_callback(self._shadows.discard)

    async def _ask_shadow(self, question: Question, principal: Principal, version: str) -> None:
        try:
            # Nobody sees what a challenger would draw.
            headers = {name: value for name, value in question.headers.items() if name != HEAT_MAP}
            prediction = await self._answer(attrs.evolve(question, headers=headers), version)
            await self._record(question, principal, prediction, is_shadow=True)
        except LesionError as error:
            self._metrics.shadows.labels(outcome="failed").inc()
            log.warning("shadow_failed", request_id=question.request_id, version=version, reason=error.message)
        else:
            self._metrics.shadows.labels(outcome="recorded").inc()
