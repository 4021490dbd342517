"""Images, asked of the engine: admitted, answered by the version whose turn it is, recorded, then returned."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import attrs
import structlog

from lesion_core.errors import LesionError
from lesion_core.service import HEAT_MAP_HEADER
from lesion_core.wire import DescribedPrediction, Prediction
from lesion_serve.deployment import Choice, Deployment, choose_version
from lesion_serve.engine.engine import Engine, EngineDownError, EngineError, RefusedError, WorkerDiedError
from lesion_serve.gateway.admission import Admission, Places
from lesion_serve.gateway.keys import Principal
from lesion_serve.gateway.metrics import Metrics
from lesion_serve.gateway.question import Question
from lesion_serve.gateway.recording import Recording
from lesion_serve.request_headers import FEATURES

SHADOWS_AT_ONCE = 4

log = structlog.get_logger()


class Asking:
    """Puts questions to an engine. For one event loop."""

    def __init__(
        self,
        engine: Engine,
        recording: Recording,
        admission: Admission,
        metrics: Metrics,
        *,
        deployment: Callable[[], Deployment | None],
        deadline_s: float,
    ) -> None:
        """Put it together.

        Args:
            engine: answers.
            recording: keeps what was answered.
            admission: says which questions are taken on.
            metrics: counts.
            deployment: what is loaded at this moment; ``None`` before the first version is.
            deadline_s: seconds that one question may take in all from its turn on, its record included.
        """
        self._engine = engine
        self._recording = recording
        self._admission = admission
        self._metrics = metrics
        self._deployment = deployment
        self._deadline_s = deadline_s
        self._shadows: set[asyncio.Task[None]] = set()
        metrics.in_progress.set_function(lambda: admission.taken)
        metrics.expected_wait.set_function(admission.expected_wait_s)

    def require_place(self, principal: Principal) -> None:
        """Make sure that a question would be taken on now, before its image is read.

        Raises:
            NotAdmittedError: there is too much to do.
        """
        self._admission.require_place(principal.key_id)

    async def ask(self, question: Question, principal: Principal) -> Prediction:
        """The recorded answer.

        Raises:
            NotAdmittedError: there is too much to do.
            EngineError: there is no answer; see its subclasses.
            NotRecordedError: there is one that could not be recorded, or the id was used before.
        """
        async with self._admission.places(principal.key_id) as places:
            return await self._ask(question, principal, places)

    async def ask_all(self, questions: Sequence[Question], principal: Principal) -> list[Prediction | LesionError]:
        """The recorded answers to the questions of one form, or why there is none, in their order.

        Raises:
            NotAdmittedError: there is too much to do; none was asked.
        """
        async with self._admission.places(principal.key_id, images=len(questions)) as places:
            asked = (self._ask(one, principal, places) for one in questions)
            answers = await asyncio.gather(*asked, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, LesionError):
                raise answer
        return [answer for answer in answers if isinstance(answer, Prediction | LesionError)]

    async def settle(self) -> None:
        """Wait for the answers of challengers that are still to be recorded."""
        await asyncio.gather(*self._shadows, return_exceptions=True)

    async def close(self) -> None:
        """Wait for what is still to be recorded, and end the threads that do it; a later question starts others."""
        await self.settle()
        await self._recording.close()

    async def _ask(self, question: Question, principal: Principal, places: Places) -> Prediction:
        async with places.turn():
            deadline = time.monotonic() + self._deadline_s
            if question.is_named:
                await self._recording.require_new(question, deadline)
            choice, prediction = await self._answer(question, deadline)
        await self._recording.record(question, principal, prediction, deadline, is_shadow=False)
        self._ask_shadows(question, principal, choice)
        # What monitoring compares is a fingerprint of the image, for the record's keeper only.
        return prediction.undescribed if isinstance(prediction, DescribedPrediction) else prediction

    def _choose(self, request_id: str) -> Choice:
        return choose_version(self._deployed(), request_id)

    def _deployed(self) -> Deployment:
        if (deployment := self._deployment()) is None:
            raise EngineDownError("No model is loaded yet.")
        return deployment

    async def _answer(self, question: Question, deadline: float) -> tuple[Choice, Prediction]:
        """Ask the version whose turn it is; where that one cannot answer, the champion of the next moment.

        What is wrong with the question is told at once: no other version would take it. Nor is another asked once the
        time is over.
        """
        choice = self._choose(question.request_id)
        try:
            return choice, await self._ask_version(question, choice.answering, deadline)
        except EngineError as error:
            champion = self._deployed().champion.version
            is_questions_fault = isinstance(error, RefusedError) and error.status < 500
            if champion == choice.answering or is_questions_fault or time.monotonic() >= deadline:
                raise
            self._metrics.fallbacks.inc()
            log.warning(
                "fell_back", request_id=question.request_id, version=choice.answering, to=champion, reason=error.code
            )
            return Choice(answering=champion), await self._ask_version(question, champion, deadline)

    async def _ask_version(self, question: Question, version: str, deadline: float) -> Prediction:
        """Ask; once more where the worker died that had the question, as long as there is time."""
        started = time.perf_counter()
        try:
            prediction = await self._ask_once(question, version, deadline)
        except WorkerDiedError:
            self._metrics.retries.inc()
            log.warning("asked_again", request_id=question.request_id, version=version)
            prediction = await self._ask_once(question, version, deadline)
        self._metrics.engine_seconds.labels(version=version).observe(time.perf_counter() - started)
        return prediction

    async def _ask_once(self, question: Question, version: str, deadline: float) -> Prediction:
        return await self._engine.predict(
            question.image,
            request_id=question.request_id,
            timeout_s=max(0.0, deadline - time.monotonic()),
            content_type=question.content_type,
            version=version,
            headers={**question.headers, FEATURES: "true"},
        )

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
            headers = {name: value for name, value in question.headers.items() if name != HEAT_MAP_HEADER}
            deadline = time.monotonic() + self._deadline_s
            prediction = await self._ask_version(attrs.evolve(question, headers=headers), version, deadline)
            await self._recording.record(question, principal, prediction, deadline, is_shadow=True)
        except LesionError as error:
            self._metrics.shadows.labels(outcome="failed").inc()
            log.warning("shadow_failed", request_id=question.request_id, version=version, reason=error.message)
        else:
            self._metrics.shadows.labels(outcome="recorded").inc()
