"""Which resize for the preprocessing path: Pillow's antialiased bilinear, or OpenCV's?

    ./pants run benchmarks/resize_fidelity.py -- DIR

DIR holds photographs (``*.jpg``), 600 x 450 pixels or so. Each central square is scaled by every way; the distance is
that to the same triangle filter computed in float64, in grey levels. OpenCV's INTER_LINEAR is the cheap baseline: it
does not filter before it leaves pixels out. One thread.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lesion_core.imaging import decode_image
from lesion_core.preprocess import scale_square

Pixels = NDArray[np.uint8]


def triangle(before_px: int, after_px: int) -> NDArray[np.float64]:
    """Weights ``(after, before)`` of the exact antialiased bilinear filter along one axis."""
    step = before_px / after_px
    centres = (np.arange(after_px) + 0.5) * step
    distance = np.abs(centres[:, None] - (np.arange(before_px) + 0.5)) / max(step, 1.0)
    weights = np.maximum(0, 1 - distance)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def opencv(interpolation: int) -> Callable[[Pixels, int], Pixels]:
    """OpenCV's resize with one of its filters."""
    return lambda square, side: np.asarray(
        cv2.resize(square, (side, side), interpolation=interpolation), dtype=np.uint8
    )


WAYS = {
    "Pillow bilinear (ours)": scale_square,
    "OpenCV INTER_AREA": opencv(cv2.INTER_AREA),
    "OpenCV INTER_LINEAR": opencv(cv2.INTER_LINEAR),
}


def main() -> None:
    """Print time, mean and largest distance of each way."""
    cv2.setNumThreads(1)
    squares = []
    for path in sorted(Path(sys.argv[1]).glob("*.jpg"))[:20]:
        image = decode_image(path.read_bytes())
        side = min(image.shape[:2])
        left = (image.shape[1] - side) // 2
        squares.append(np.ascontiguousarray(image[:side, left : left + side]))
    for side in (128, 224, 384, 512):
        print(f"{squares[0].shape[0]} -> {side} px: ms, mean distance, largest distance")
        for name, way in WAYS.items():
            times, distances = [], []
            for square in squares:
                started = time.perf_counter()
                scaled = way(square, side)
                times.append(1000 * (time.perf_counter() - started))
                weights = triangle(square.shape[0], side)
                exact = np.einsum("ij,jkc,lk->ilc", weights, square.astype(np.float64), weights, optimize=True)
                distances.append(np.abs(scaled - exact))
            print(f"  {name:24} {np.median(times):6.2f} {np.mean(distances):6.3f} {np.max(distances):6.1f}")


if __name__ == "__main__":
    main()
