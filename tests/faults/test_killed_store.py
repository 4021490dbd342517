"""A store whose program is killed, again and again."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import threading
from pathlib import Path

from support import killed_store_run
from support.stored import check, open_store

KILLS = 50


def run_and_kill(folder: Path, number: int, *, after_s: float) -> list[str]:
    """Fork a program that appends, kill it ``after_s`` after its first acknowledged record; all that it acknowledged.

    Forked, so that 50 runs import everything once; this process has no store open, and no thread, while it forks.
    """
    read_end, write_end = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            os.dup2(write_end, 1)
            os.close(read_end)
            killed_store_run.main(folder, number)
            threading.Event().wait()
        finally:
            os._exit(1)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as output:
        said = [output.readline()]
        threading.Event().wait(after_s)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        said += output.readlines()
    return [line.decode().strip() for line in said if line.endswith(b"\n")]


def test_no_acknowledged_record_is_lost_however_often_the_program_is_killed(tmp_path: Path) -> None:
    """Fifty SIGKILLs at random moments, between threads that append and one that anchors; the chain stays whole."""
    choose, acknowledged = random.Random(11), list[str]()
    for number in range(KILLS):
        acknowledged += run_and_kill(tmp_path, number, after_s=choose.uniform(0, 0.1))

    with sqlite3.connect(tmp_path / "predictions.db") as connection:
        kept = {row[0] for row in connection.execute("SELECT request_id FROM event")}
    connection.close()
    assert len(acknowledged) > 2 * KILLS
    assert set(acknowledged) - kept == set()
    found = check(tmp_path)
    assert (found.findings, found.remarks) == ((), ())
    with open_store(tmp_path) as store:
        assert store.prediction(acknowledged[0]).request_id == acknowledged[0]
