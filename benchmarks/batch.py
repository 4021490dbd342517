"""What does a batch cost beside a bare loop, and does its memory stay flat?

    ./pants run benchmarks/batch.py -- BUNDLE IMAGE [SIZES]

IMAGE is a JPEG as cameras make them; SIZES are numbers of images, 1000,100000 by default. Prints:

1. Images a second of ``lesion-serve predict``, start and end of the program included, with one worker and with one for
   each core, beside a bare loop over a loaded predictor in one process.
2. Peak memory of the program and of its worker for each size. Every image is a hard link to a file that is refused
   after it was read: what a decoder takes does not depend on how many images there are.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from lesion_core.processes import child_environment
from lesion_serve.predictor import Predictor

LOOP_IMAGES = 400
LINKS = 50_000  # of one file; file systems have a limit


def main() -> None:
    """Print both."""
    bundle, image = Path(sys.argv[1]), Path(sys.argv[2])
    sizes = [int(size) for size in (sys.argv[3] if len(sys.argv) > 3 else "1000,100000").split(",")]
    with tempfile.TemporaryDirectory() as folder:
        speed(bundle, image.read_bytes(), Path(folder))
        for size in sizes:
            memory(bundle, size, Path(folder))


def linked(content: bytes, count: int, folder: Path) -> Path:
    """A folder with so many files of one content."""
    folder.mkdir()
    for number in range(count):
        path = folder / f"{number:07}.jpg"
        if number % LINKS == 0:
            first = path
            first.write_bytes(content)
        else:
            os.link(first, path)
    return folder


def predict(bundle: Path, images: Path, out: Path, workers: int) -> list[str]:
    """The command."""
    command = [sys.executable, "-m", "lesion_serve", "predict", str(images), "--out", str(out)]
    return [*command, "--model", str(bundle), "--workers", str(workers)]


def speed(bundle: Path, image: bytes, folder: Path) -> None:
    """Images a second."""
    images = linked(image, LOOP_IMAGES, folder / "images")
    predictor = Predictor.load(bundle, version="1", threads=1)
    predictor.warm_up()
    started = time.perf_counter()
    for path in images.iterdir():
        predictor.predict(path.read_bytes())
    bare = LOOP_IMAGES / (time.perf_counter() - started)
    print(f"bare loop over {LOOP_IMAGES} images, {predictor.engine}, 1 thread: {bare:.1f} images a second")
    for workers in sorted({1, len(os.sched_getaffinity(0))}):
        started = time.perf_counter()
        command = predict(bundle, images, folder / f"{workers}.csv", workers)
        shown = subprocess.run(command, env=child_environment(), check=True, capture_output=True, text=True)
        rate = LOOP_IMAGES / (time.perf_counter() - started)
        print(
            f"predict, {workers} workers: {rate:.1f} with start and end of the program, {rate / bare:.2f} of the loop"
        )
        print(f"  {shown.stderr.splitlines()[-1]}")


def memory(bundle: Path, size: int, folder: Path) -> None:
    """Peak memory of a run of so many images, and of its worker."""
    images = linked(b"no image", size, folder / f"images-{size}")
    started = time.perf_counter()
    with subprocess.Popen(
        predict(bundle, images, folder / f"{size}.csv", 1),
        env=child_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as program:
        own, worker = 0.0, 0.0
        while program.poll() is None:
            own = max(own, peak_mb(program.pid))
            children = psutil.Process(program.pid).children() if program.poll() is None else []
            worker = max([worker, *(peak_mb(child.pid) for child in children)])
            time.sleep(0.1)
    assert program.returncode == 1, program.returncode
    seconds = time.perf_counter() - started
    print(f"{size:,} images: peak {own:.0f} MB, worker {worker:.0f} MB; {seconds:.0f} s")
    shutil.rmtree(images)


def peak_mb(pid: int) -> float:
    """The most that a process ever held, 0 where it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return max((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), default=0.0)


if __name__ == "__main__":
    main()
