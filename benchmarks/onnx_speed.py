"""What does ONNX Runtime save a server? Beside torch, with the same bundle and threads, in one run.

    ./pants run benchmarks/onnx_speed.py -- BUNDLE

BUNDLE holds a ``model.onnx`` (every ``lesion-train fit`` writes one where the backbone allows it). Prints milliseconds
of whole answers, from the bytes of a JPEG of 600 x 450 px, and of the network alone; and, each in a process of its own,
seconds from the start of Python to the first answer, and the memory that it then holds.
"""

from __future__ import annotations

import io
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from lesion_core.bundle import load_bundle
from lesion_core.datasets.synthetic import draw_lesion
from lesion_core.processes import child_environment
from lesion_plugins.registry import BackboneRegistry
from lesion_serve.network import Engine, load_network
from lesion_serve.predictor import Predictor

ENGINES: tuple[Engine, Engine] = ("torch", "onnx")
ROUNDS = 60
START = """
import sys, time, resource
from pathlib import Path
from lesion_serve.predictor import Predictor
Predictor.load(Path(sys.argv[1]), version="1", engine=sys.argv[2]).predict(Path(sys.argv[3]).read_bytes())
pages = int(Path("/proc/self/statm").read_text().split()[1])
print(pages * resource.getpagesize() / 2**20)
"""


def main() -> None:
    """Print the table."""
    folder = Path(sys.argv[1])
    manifest = load_bundle(folder).manifest
    print(f"{manifest.backbone.name}, {manifest.preprocess.input_size_px} px, parity {manifest.onnx_parity}")
    photograph = jpeg()
    for threads in (1, 2):
        predictors = [Predictor.load(folder, version="1", threads=threads, engine=engine) for engine in ENGINES]
        show(f"answer, {threads} threads", [partial(p.predict, photograph) for p in predictors])
        for batch in (1, 8):
            side = manifest.preprocess.input_size_px
            images = np.random.default_rng(0).standard_normal((batch, 3, side, side)).astype(np.float32)
            networks = [
                load_network(load_bundle(folder), BackboneRegistry.load(), engine=engine, threads=threads).run
                for engine in ENGINES
            ]
            show(f"network, {threads} threads, batch {batch}", [partial(n, images, None) for n in networks])
    path = Path(sys.argv[1]).parent / "onnx_speed.jpg"
    path.write_bytes(photograph)
    try:
        for engine in ENGINES:
            started = time.perf_counter()
            command = [sys.executable, "-c", START, str(folder), engine, str(path)]
            done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=True)
            seconds = time.perf_counter() - started
            print(f"{engine:6} first answer {seconds:5.1f} s after the start, {float(done.stdout):5.0f} MB resident")
    finally:
        path.unlink()


def jpeg() -> bytes:
    """A drawn photograph of the size of HAM10000's."""
    buffer = io.BytesIO()
    Image.fromarray(draw_lesion("NV", seed=0, side_px=600)[:450]).save(buffer, format="JPEG", quality=90)
    return buffer.getvalue()


def show(what: str, runs: Sequence[Callable[[], object]]) -> None:
    """Medians of both, in turns."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(ROUNDS):
        for mine, run in zip(times, runs, strict=True):
            started = time.perf_counter()
            run()
            mine.append(1000 * (time.perf_counter() - started))
    slow, fast = (statistics.median(mine[ROUNDS // 6 :]) for mine in times)
    print(f"{what:28} torch {slow:6.1f} ms   ONNX Runtime {fast:6.1f} ms   {slow / fast:.1f} times as fast")


if __name__ == "__main__":
    main()
