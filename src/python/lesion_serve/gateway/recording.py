"""Answers are recorded before they leave: in threads that wait for the disk, within the time that a question has."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Protocol

import structlog

from lesion_core.errors import LesionError
from lesion_core.wire import Prediction
from lesion_serve.gateway.keys import Principal
from lesion_serve.gateway.metrics import Metrics
from lesion_serve.gateway.question import Question

# Threads that wait for the disk; those that wait at the same time are written together.
RECORDS_AT_ONCE = 16
# An answer that is there is given so long to be recorded, also where the deadline is near.
LEAST_RECORD_S = 1.0

log = structlog.get_logger()


class Recorder(Protocol):
    """Where an answer is recorded. Its methods block."""

    def require_new(self, request_id: str) -> None:
        """Make sure that nothing was recorded under this id.

        Raises:
            LesionError: ``duplicate_request``, or the record cannot be read.
        """
        ...

    def record(self, question: Question, principal: Principal, prediction: Prediction, *, is_shadow: bool) -> None:
        """Keep it; it lasts when this returns.

        Raises:
            LesionError: it could not be kept.
        """
        ...


class NotRecordedError(LesionError):
    """There is an answer, but it could not be recorded, so it must not leave.

    Codes: ``not_recorded``: nothing was written; ``record_unknown``: nobody knows whether it was; ``bad_record``: it
    never can be; ``duplicate_request``: the id was used before; ``erased``: a shadow came after its person was erased.
    """

    code = "not_recorded"


class Recording:
    """Has answers recorded, and knows what to say where that is late or fails. For one event loop."""

    def __init__(self, recorder: Recorder, metrics: Metrics) -> None:
        self._recorder = recorder
        self._metrics = metrics
        self._threads = _threads()

    async def require_new(self, question: Question, deadline: float) -> None:
        """Make sure that nothing was recorded under the question's id.

        Args:
            question: that is to be asked.
            deadline: on the monotonic clock, in seconds.
        Raises:
            NotRecordedError: the id was used before; or nobody knows in time.
        """
        await self._in_thread(question, partial(self._recorder.require_new, question.request_id), deadline)

    async def record(
        self, question: Question, principal: Principal, prediction: Prediction, deadline: float, *, is_shadow: bool
    ) -> None:
        """Keep an answer; it lasts when this returns.

        Args:
            question: that was asked.
            principal: who asked.
            prediction: the answer.
            deadline: on the monotonic clock, in seconds; an answer gets ``LEAST_RECORD_S`` all the same.
            is_shadow: whether nobody is shown it.
        Raises:
            NotRecordedError: it was not kept, or nobody knows in time.
        """
        started = time.perf_counter()
        write = partial(self._recorder.record, question, principal, prediction, is_shadow=is_shadow)
        try:
            await self._in_thread(question, write, deadline)
        except LesionError as error:
            if error.code != "erased":
                self._metrics.unrecorded.inc()
            raise
        self._metrics.record_seconds.observe(time.perf_counter() - started)

    async def close(self) -> None:
        """Wait for what is still to be recorded, and end the threads that do it; a later question starts others."""
        ending, self._threads = self._threads, _threads()
        await asyncio.to_thread(ending.shutdown)

    async def _in_thread(self, question: Question, work: Callable[[], None], deadline: float) -> None:
        doing = self._threads.submit(work)
        waiting = asyncio.wrap_future(doing)
        timeout_s = max(LEAST_RECORD_S, deadline - time.monotonic())
        done, _ = await asyncio.wait({waiting}, timeout=timeout_s)
        if not done:
            raise _late(question.request_id, doing)
        try:
            waiting.result()
        except LesionError as error:
            raise _not_recorded(question.request_id, error) from error


def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(RECORDS_AT_ONCE, thread_name_prefix="records")


def _not_recorded(request_id: str, error: LesionError) -> NotRecordedError:
    """What a client is told of what the record says."""
    match error.code:
        case "duplicate_request":
            return NotRecordedError(
                f"The X-Request-ID {request_id!r} was used before. If it was for this image, get the answer by GET "
                f"/v1/predictions/{request_id}; else send another id.",
                code=error.code,
            )
        case "erased":
            return NotRecordedError(error.message, code=error.code)
        case "store_failed" | "store_unreachable":
            return _unknown(request_id)
        case "bad_record":
            return NotRecordedError(
                "An answer to this request cannot be recorded, now or later, so there is none. Tell your engineer.",
                code=error.code,
            )
        case _:
            return NotRecordedError(
                "The answer could not be recorded, so it is withheld. Tell your engineer; asking again is safe."
            )


def _late(request_id: str, doing: Future[None]) -> NotRecordedError:
    """What a client is told that cannot wait any longer for the record."""
    if doing.cancel():  # no thread had begun
        return NotRecordedError(
            "The record of predictions is too slow, so the answer is withheld. Asking again is safe."
        )
    doing.add_done_callback(lambda late: log.warning("recorded_late", request_id=request_id, error=late.exception()))
    return _unknown(request_id)


def _unknown(request_id: str) -> NotRecordedError:
    return NotRecordedError(
        "It is not known whether the answer was recorded, so it is withheld. Look it up by GET "
        f"/v1/predictions/{request_id} before you ask again, with another X-Request-ID.",
        code="record_unknown",
    )
