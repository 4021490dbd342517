"""Workers of one thread each, on this machine. One that dies is replaced, and its images are asked about once more."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import wait

import attrs
import structlog

from lesion_core.processes import ONE_THREAD, child_environment
from lesion_core.wire import Problem
from lesion_serve.batch.answering import Answer, Model, Task
from lesion_serve.batch.errors import BatchError
from lesion_serve.batch.worker import FAILED, READY

log = structlog.get_logger()

WORKER = "lesion_serve.batch.worker"
DEATHS_OF_AN_IMAGE = 2
DEATHS_WHILE_LOADING = 3
_IN_HAND = 2  # images that a worker has: the one that it is at, and the next
_GRACE_S = 10.0


class _Worker:
    """A process, and the tasks in its hand, oldest first."""

    def __init__(self, model: Model, program: str) -> None:
        self.connection, theirs = Pipe()
        number = theirs.fileno()
        self._process = subprocess.Popen(
            [sys.executable, "-m", program, str(number)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=child_environment(ONE_THREAD),
            pass_fds=(number,),
            start_new_session=True,  # Ctrl-C is for the run, which ends its workers
        )
        theirs.close()
        self.tasks = deque[Task]()
        self.is_ready = False
        with contextlib.suppress(ConnectionError):  # it died already; who waits for its answer will see
            self.connection.send_bytes(json.dumps(attrs.asdict(model)).encode())

    def give(self, task: Task) -> None:
        """Hand it a task."""
        self.tasks.append(task)
        with contextlib.suppress(ConnectionError):
            self.connection.send_bytes(task.to_json())

    def bury(self) -> int:
        """Exit code of one that has closed its end, once it is gone."""
        self.connection.close()
        try:
            return self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def stop(self) -> None:
        """End it; it holds nothing that could be lost."""
        self._process.kill()
        self.connection.close()
        self._process.wait()


class WorkerPool:
    """Answers tasks with ``workers`` processes that run the module ``program``; ``answers`` is an ``Answering``."""

    def __init__(self, model: Model, *, workers: int, program: str = WORKER) -> None:
        self._model = model
        self._wanted = workers
        self._program = program
        self._workers = list[_Worker]()
        self._again = deque[Task]()  # of workers that died
        self._deaths = Counter[int]()  # by the number of the task that was in work
        self._deaths_while_loading = 0

    def answers(self, tasks: Iterator[Task]) -> Generator[Sequence[Answer], None, None]:
        """Answer all tasks, in any order.

        Raises:
            BatchError: ``model_did_not_load``, ``workers_died``.
        """
        try:
            while True:
                self._hand_out(tasks)
                if not any(worker.tasks for worker in self._workers):
                    return
                ready = wait([worker.connection for worker in self._workers])
                answers = list[Answer]()
                for worker in [worker for worker in self._workers if worker.connection in ready]:
                    answers += self._receive(worker)
                if answers:
                    yield answers
        finally:
            for worker in self._workers:
                worker.stop()
            self._workers.clear()

    def _hand_out(self, tasks: Iterator[Task]) -> None:
        """Fill all hands, and start workers while there is something for them to do."""
        while True:
            free = [worker for worker in self._workers if len(worker.tasks) < _IN_HAND]
            if not free and len(self._workers) == self._wanted:
                return
            task = self._again.popleft() if self._again else next(tasks, None)
            if task is None:
                return
            if len(self._workers) < self._wanted:
                self._workers.append(_Worker(self._model, self._program))
                free = [self._workers[-1]]
            min(free, key=lambda worker: len(worker.tasks)).give(task)

    def _receive(self, worker: _Worker) -> list[Answer]:
        """One message of a worker, or its death."""
        try:
            message = worker.connection.recv_bytes()
        except (EOFError, OSError):
            return self._bury(worker)
        if message == READY:
            worker.is_ready, self._deaths_while_loading = True, 0
            return []
        if message.startswith(FAILED):
            raise BatchError(
                f"The model cannot be loaded: {message[len(FAILED) :].decode()}", code="model_did_not_load"
            )
        worker.tasks.popleft()
        return [Answer.from_json(message)]

    def _bury(self, worker: _Worker) -> list[Answer]:
        """Take the tasks of a dead worker back: the oldest was in work, the others waited."""
        self._workers.remove(worker)
        code = worker.bury()
        log.warning("worker_died", exit_code=code, images_in_hand=len(worker.tasks))
        if not worker.is_ready:
            self._deaths_while_loading += 1
            if self._deaths_while_loading == DEATHS_WHILE_LOADING:
                raise BatchError(
                    f"{DEATHS_WHILE_LOADING} workers in a row died while they loaded the model, the last with exit "
                    f"code {code}. Is there memory for {self._wanted} of them? Fewer: --workers.",
                    code="workers_died",
                )
            self._again.extendleft(reversed(worker.tasks))
            return []
        suspect = worker.tasks.popleft() if worker.tasks else None
        self._again.extendleft(reversed(worker.tasks))
        if suspect is None:
            return []
        self._deaths[suspect.number] += 1
        if self._deaths[suspect.number] < DEATHS_OF_AN_IMAGE:
            self._again.appendleft(suspect)
            return []
        said = f"A worker died at this image {DEATHS_OF_AN_IMAGE} times, the last with exit code {code}."
        return [self._model.answer(suspect, None, Problem(code="worker_died", message=said))]
