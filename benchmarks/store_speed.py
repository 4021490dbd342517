"""How long does it take to write a prediction down, and how many a second can be written?

    ./pants run benchmarks/store_speed.py -- [FOLDER] [RECORDS]

Beside a bare insert of the same bytes into SQLite with the same promise (WAL, synchronous FULL), by the same number of
threads in the same run, in turns. FOLDER should be on the disk that the store will be on; a commit waits for it.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from lesion_serve.store import PredictionStore
from support.stored import make_record

ROUNDS = 3


def main(folder: Path, records: int) -> None:
    """Print a row for each way to write, and the ratio to the bare insert."""
    print(f"{'':28} {'p50 ms':>8} {'p99 ms':>8} {'records/s':>10} {'of bare':>8}")
    for threads in (1, 8):
        ways = {"bare SQLite insert": bare_insert, "prediction store": store_append}
        times: dict[str, list[float]] = {name: [] for name in ways}
        seconds = dict.fromkeys(ways, 0.0)
        for turn in range(ROUNDS):
            for name, way in ways.items():
                with tempfile.TemporaryDirectory(dir=folder) as place:
                    took, total = way(Path(place), threads, records // threads, turn)
                times[name] += took
                seconds[name] += total
        bare = len(times["bare SQLite insert"]) / seconds["bare SQLite insert"]
        for name in ways:
            rate = len(times[name]) / seconds[name]
            p50, p99 = np.percentile(times[name], [50, 99]) * 1000
            print(f"{name + f', {threads} thread(s)':28} {p50:8.2f} {p99:8.2f} {rate:10.0f} {rate / bare:8.2f}")


def store_append(place: Path, threads: int, each: int, turn: int) -> tuple[list[float], float]:
    """Seconds of each append, and of all together."""
    numbers = [[1_000_000 * turn + 10_000 * thread + n for n in range(each)] for thread in range(threads)]
    batches = [[make_record(number) for number in mine] for mine in numbers]
    with PredictionStore.open(f"sqlite:///{place / 'predictions.db'}", anchors=place / "anchors" / "heads") as store:
        return in_threads([[partial(store.append, record) for record in mine] for mine in batches])


def bare_insert(place: Path, threads: int, each: int, turn: int) -> tuple[list[float], float]:
    """The same bytes, one insert a commit, a connection a thread."""
    path = place / "bare.db"
    with sqlite3.connect(path) as first:
        first.execute("PRAGMA journal_mode = WAL")
        first.execute("CREATE TABLE event (position INTEGER PRIMARY KEY, content TEXT, digest TEXT)")
    local = threading.local()

    def insert(text: str) -> None:
        if not hasattr(local, "connection"):
            local.connection = sqlite3.connect(path, timeout=60, isolation_level=None)
            local.connection.execute("PRAGMA synchronous = FULL")
        digest = hashlib.sha256(text.encode()).hexdigest()
        local.connection.execute("INSERT INTO event (content, digest) VALUES (?, ?)", (text, digest))

    text = json.dumps({"answer": make_record(turn).answer})
    timed = in_threads([[lambda: insert(text) for _ in range(each)] for _ in range(threads)])
    first.close()
    return timed


def in_threads(work: list[list[Callable[[], object]]]) -> tuple[list[float], float]:
    """Seconds of each call, and of all together."""
    took: list[list[float]] = [[] for _ in work]

    def run(calls: list[Callable[[], object]], into: list[float]) -> None:
        for call in calls:
            begin = time.perf_counter()
            call()
            into.append(time.perf_counter() - begin)

    threads = [threading.Thread(target=run, args=pair) for pair in zip(work, took, strict=True)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [value for mine in took for value in mine], time.perf_counter() - begin


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(Path(arguments[0] if arguments else "."), int(arguments[1]) if len(arguments) > 1 else 400)
