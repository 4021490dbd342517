"""A batch that is killed, again and again: nothing that was answered is lost or asked about again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import psutil

from lesion_core.processes import child_environment
from lesion_serve.batch.run import run_batch
from support.batch_worker import asked
from support.batches import answering_with, make_batch, silent, write_images
from support.bundles import make_tiny_bundle
from support.images import encoded_lesion

IMAGES = 1500
KILLS = 40


def run_in_fork(folder: Path) -> int:
    """The process of a run. Forked, so that many runs import everything once."""
    process = os.fork()
    if process == 0:
        try:
            batch = make_batch(folder)
            run_batch(batch, answering_with(batch), silent)
            os._exit(0)
        finally:
            os._exit(1)
    return process


def test_a_run_killed_at_any_moment_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    """Forty SIGKILLs, while images are listed, answered, and the table is written; equal to a run that was let be."""
    choose, exit_code, kills, images = random.Random(3), None, 0, write_images(tmp_path, IMAGES)
    while exit_code is None:
        process = run_in_fork(tmp_path)
        if kills < KILLS:
            threading.Event().wait(choose.uniform(0, 0.06))
            os.kill(process, signal.SIGKILL)
        kills += 1
        _, status = os.waitpid(process, 0)
        exit_code = None if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)

    times = Counter(asked(images))
    assert exit_code == 0
    assert set(times) == {f"{number:04}.jpg" for number in range(IMAGES)}
    # At most the image that was in hand when it was killed was asked about again, and that was not written down.
    assert sum(times.values()) - IMAGES <= kills - 1
    assert kills > KILLS // 4, "the runs were over too soon to show anything"
    whole = make_batch(tmp_path, out="whole.csv")
    run_batch(whole, answering_with(whole), silent)
    assert (tmp_path / "out.csv").read_bytes() == whole.out.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "out.csv", "whole.csv"]


def test_a_killed_program_leaves_no_worker_and_goes_on_when_repeated(tmp_path: Path) -> None:
    """The real program with a real model, killed in the middle."""
    bundle = make_tiny_bundle(tmp_path / "bundle")
    images = write_images(tmp_path, 150, encoded_lesion(side_px=64))
    command = [sys.executable, "-m", "lesion_serve", "predict", str(images), "--out", str(tmp_path / "out.csv")]
    command += ["--model", str(bundle.folder), "--workers", "1"]
    log = tmp_path / "log"

    def start() -> subprocess.Popen[bytes]:
        with log.open("wb") as output:
            return subprocess.Popen(command, env=child_environment(), stdout=output, stderr=output)

    written, program = tmp_path / "out.csv.unfinished-wal", start()
    while program.poll() is None and not (written.exists() and written.stat().st_size > 200_000):
        time.sleep(0.02)  # the list of images takes less
    family = psutil.Process(program.pid).children(recursive=True)
    program.kill()
    program.wait()

    _, alive = psutil.wait_procs(family, timeout=60)
    assert (len(family), alive) == (1, [])
    assert start().wait(180) == 0
    said = log.read_text()
    assert "of 150 images, " in said.splitlines()[0], said
    before = int(said.split(" of 150 images")[0])
    assert 0 < before < 150
    assert "150 of 150 images answered" in said
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 151
