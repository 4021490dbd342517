"""When workers are given a new start, on a clock of the test's own."""

from __future__ import annotations

from typing import Any, cast

from lesion_serve.engine.torchserve_management import WorkerStatus
from lesion_serve.engine.torchserve_watch import LONGEST_PAUSE_S, VersionWatch

READY = WorkerStatus(is_ready=True, pid=101)
LOADING = WorkerStatus(is_ready=False, pid=101)
DEAD = WorkerStatus(is_ready=False, pid=None)


def watch(wanted: int) -> VersionWatch:
    return VersionWatch(cast("Any", None), wanted=wanted, stuck_after_s=60)


def test_a_dead_worker_gets_a_new_start_after_a_while_and_then_later_and_later() -> None:
    """A model that cannot start is no reason to try without end."""
    seen = watch(1)
    starts = [now for now in range(4000) if seen.update([DEAD], now=now) is not None]

    pauses = [after - before for before, after in zip([0, *starts], starts, strict=False)]
    assert pauses[:4] == [60, 120, 240, 480]
    assert set(pauses[4:]) == {LONGEST_PAUSE_S}


def test_a_worker_that_comes_back_by_itself_is_left_alone() -> None:
    """TorchServe does it within seconds, most of the time."""
    seen = watch(1)
    for now in range(50):
        assert seen.update([DEAD], now=now) is None

    assert seen.update([READY], now=51) is None
    assert seen.update([DEAD], now=100) is None
    assert (seen.ready, seen.tries) == (0, 0)


def test_a_worker_that_loads_is_given_all_the_time_it_needs() -> None:
    """Ending it would make it begin again."""
    seen = watch(1)

    assert [seen.update([LOADING], now=now) for now in range(0, 1000, 10)] == [None] * 100


def test_beside_living_workers_the_missing_ones_are_added() -> None:
    """TorchServe counts the dead among those that it has; scaling to none would stop the living too."""
    seen = watch(2)
    seen.update([READY, DEAD], now=0)

    assert seen.update([READY, DEAD], now=60) == 3
    assert seen.update([READY, DEAD, READY], now=70) is None
    assert seen.ready == 2


def test_without_a_living_one_all_are_started() -> None:
    """From none."""
    seen = watch(2)
    seen.update([DEAD, DEAD], now=0)

    assert seen.update([DEAD, DEAD], now=60) == 2


def test_a_process_that_replaces_another_is_counted_once() -> None:
    """Neither the first of each worker, nor those of a TorchServe that was started again."""
    seen = watch(2)
    first, second, third = (WorkerStatus(is_ready=True, pid=pid) for pid in (101, 102, 103))
    counted = []
    for workers in ([first], [first, second], [first, DEAD], [first, third], [first, third]):
        seen.update(workers, now=0)
        counted.append(seen.replaced)
    seen.reset()
    seen.update([WorkerStatus(is_ready=True, pid=pid) for pid in (201, 202)], now=0)

    assert [*counted, seen.replaced] == [0, 0, 0, 1, 0, 0]
