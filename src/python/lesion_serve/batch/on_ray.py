"""A batch on Ray Data: actors that hold the predictor, on one machine or on many.

The files of the bundle travel to the actors; the images do not, so their paths have to lead to them on every host.
Answers come back in chunks and are written down here, so that a run goes on after any death: of this program, of an
actor, of the cluster.
"""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import attrs
import structlog

from lesion_core.bundle import MANIFEST, Bundle
from lesion_serve.batch.answering import Answer, Answerer, Answering, Answers, Model, Task
from lesion_serve.batch.pool import WorkerPool
from lesion_serve.ray_cluster import RayError, cluster, import_ray

log = structlog.get_logger()

CHUNK = 32  # images that an actor answers before it says so
ROUND = 50_000  # images that are handed to Ray at a time, so that memory stays flat
TRIES_OF_A_CHUNK = 3
READERS = ("iter_threaded", "StreamingExecutor", "ray-data-metadata-prefetch")  # what Ray Data's threads are called
READERS_END_S = 30.0


class RayAnswers:
    """What runs in an actor: a model that is loaded once."""

    def __init__(self, model: Model, files: Sequence[Any], load: Callable[[Model], Answers]) -> None:
        """Load it. ``files`` holds a reference to the bundle's files by name."""
        with tempfile.TemporaryDirectory(prefix="lesion-bundle-") as folder:
            for name, content in import_ray().get(files[0]).items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            self._answers = load(attrs.evolve(model, folder=folder))

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        """Answer for a chunk: both sides are JSON."""
        return {"item": [self._answers.answer(Task.from_json(task)).to_json() for task in batch["item"]]}


def answering_on_ray(
    bundle: Bundle,
    model: Model,
    *,
    address: str | None,
    workers: int | None,
    cpus: int,
    load: Callable[[Model], Answers] = Answerer,
) -> Answering:
    """An ``Answering`` on a cluster.

    Args:
        bundle: of the model.
        model: that answers.
        address: of a cluster that exists; ``None`` starts one here.
        workers: actors of one CPU each; by default as many as the cluster has CPUs.
        cpus: of the cluster that is started here.
        load: what an actor asks.
    """
    files = {name: (bundle.folder / name).read_bytes() for name in (MANIFEST, *bundle.manifest.files)}

    def answers(tasks: Iterator[Task]) -> Generator[Sequence[Answer], None, None]:
        first = next(tasks, None)
        if first is None:  # nothing is left to do but to write the table
            return
        with cluster(address, cpus=workers or cpus) as ray:
            actors = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
            arguments = {"model": model, "files": [ray.put(files)], "load": load}
            waiting = [first, *islice(tasks, ROUND - 1)]
            while waiting:
                yield from _round(waiting, model, arguments, actors)
                waiting = list(islice(tasks, ROUND))

    return answers


@contextmanager
def _iterated(batches: Iterable[dict[str, Any]]) -> Iterator[Iterator[dict[str, Any]]]:
    """Iterate over what Ray Data makes, until its threads have ended too, also where the iteration stops early.

    Ray leaves them to themselves then, and one that asks Ray for anything after ``ray.shutdown`` ends the whole
    program, without a word and with exit code 1.
    """
    iterator = iter(batches)
    try:
        yield iterator
    finally:
        iterator.close()  # type: ignore[attr-defined]  # a generator
        for thread in threading.enumerate():
            if thread.name.startswith(READERS):
                thread.join(READERS_END_S)


def _round(
    tasks: Sequence[Task], model: Model, arguments: dict[str, Any], actors: int
) -> Generator[Sequence[Answer], None, None]:
    from ray.data import ActorPoolStrategy, DataContext, from_items  # pants: no-infer-dep
    from ray.exceptions import RayError as RaysOwnError  # pants: no-infer-dep

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1  # those at which actors die: see below
    rows = [task.to_json() for task in tasks]
    chunks = -(-len(rows) // CHUNK)
    answered = set[int]()
    try:
        dataset = from_items(rows, override_num_blocks=chunks).map_batches(
            RayAnswers,
            fn_constructor_kwargs=arguments,
            batch_size=None,
            compute=ActorPoolStrategy(min_size=1, max_size=min(actors, chunks)),
            num_cpus=1,
            # Deprecated for Ray 2.64, without a successor so far; BUILD says up to which version the extra goes.
            max_restarts=-1,
            max_task_retries=TRIES_OF_A_CHUNK - 1,
        )
        with _iterated(dataset.iter_batches(batch_size=None, prefetch_batches=0)) as batches:
            for batch in batches:
                answers = [Answer.from_json(text) for text in batch["item"]]
                answered.update(answer.number for answer in answers)
                yield answers
    except RaysOwnError as error:
        hint = "Each host of the cluster needs lesion-serve[ray]. " if "No module named 'lesion" in str(error) else ""
        raise RayError(f"Ray gave up: {error}. {hint}What was answered is kept; repeat the command.") from error
    missing = [task for task in tasks if task.number not in answered]
    if len(missing) == len(tasks):
        raise RayError("No actor answered: see Ray's log. What was answered before is kept.")
    if missing:
        # One of them may have killed the actor each time; a pool of our own finds out which.
        log.warning("chunks_failed", images=len(missing), asked_again="on this machine")
        yield from WorkerPool(model, workers=1).answers(iter(missing))
