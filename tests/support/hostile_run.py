"""Decode the hostile corpus and print what it took, as JSON: ``python -m support.hostile_run 10000``."""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from lesion_core.errors import ImageError
from lesion_core.imaging import DEFAULT_LIMITS, decode_image
from support.hostile import hostile_files
from support.image_files import seed_files


@attrs.frozen(kw_only=True)
class HostileReport:
    """What decoding the corpus took. Seconds are of the processor; megabytes are of the whole process at its peak."""

    files: int
    outcomes: dict[str, int]
    slowest: list[tuple[float, str]]
    peak_mb: float
    warned: list[str]
    broken_promises: list[str]


def run(count: int, *, seed: int = 0) -> HostileReport:
    """Decode ``count`` files of the corpus."""
    warned: list[str] = []
    broken: list[str] = []
    times: list[tuple[float, str]] = []
    outcomes: Counter[str] = Counter()
    decode_image(seed_files()["dicom"])  # so that no file is charged with the import of pydicom
    warnings.showwarning = lambda message, *_, **__: warned.append(str(message))
    for name, data in hostile_files(seed, count):
        started = time.process_time()
        outcome = _outcome(data)
        times.append((time.process_time() - started, name))
        outcomes[outcome] += 1
        if outcome.startswith("!"):
            broken.append(f"{name}: {outcome}")
    return HostileReport(
        files=len(times),
        outcomes=dict(outcomes),
        slowest=sorted(times, reverse=True)[:10],
        peak_mb=_peak_mb(),
        warned=warned,
        broken_promises=broken,
    )


def _outcome(data: bytes) -> str:
    """``"image"``, the code of a named error, or with ``!`` what must not happen."""
    try:
        pixels: Any = decode_image(data)
    except ImageError as error:
        return error.code if error.message.endswith(".") else f"!{error.message!r} is no sentence"
    except BaseException as error:  # everything but a named error is a broken promise
        return f"!{type(error).__name__}: {error}"
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        return f"!{pixels!r}"
    height, width = pixels.shape[:2]
    if height * width > DEFAULT_LIMITS.max_pixels or min(height, width) < DEFAULT_LIMITS.min_side_px:
        return f"!{width} x {height} pixels"
    return "image"


def _peak_mb() -> float:
    """Of this process alone: ``ru_maxrss`` starts at that of the parent."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


if __name__ == "__main__":
    print(json.dumps(attrs.asdict(run(int(sys.argv[1])))))
