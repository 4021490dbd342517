"""How much faster is decoding at a reduced size, and what does it change in the answers?

    ./pants run benchmarks/decoding_speed.py -- [DIR] [--bundle BUNDLE]

DIR holds full-size JPEGs (of 600 x 450 pixels or more); without it a drawn lesion is used. The photograph of 12
megapixels is one of them enlarged, with sensor noise, at quality 92 in both usual colour resolutions; once more as a
progressive JPEG, as some programs save for the web: all its scans have to be read at any size, so less is saved. Each
way ends with 224 x 224 pixels; milliseconds are of the processor, the best of several, on one core. Baselines: Pillow
and OpenCV, each decoding in full and scaling down; OpenCV decoding at a quarter.
With BUNDLE: the change in its probabilities, for the images of DIR enlarged to 12 megapixels, against full decoding;
beside it, as a yardstick, the change when a camera had saved the same photographs at quality 88 instead of 92.
"""

from __future__ import annotations

import argparse
import functools
import io
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lesion_core.bundle import load_bundle
from lesion_core.datasets.synthetic import draw_lesion
from lesion_core.decision.calibration import calibrated_probabilities
from lesion_core.imaging import decode_image
from lesion_core.preprocess import load_square, resize_square
from lesion_core.preprocess_spec import PreprocessSpec
from lesion_plugins.classifier import classifier_from_bundle
from lesion_plugins.registry import BackboneRegistry
from lesion_train.inference import run_network

SIDE_PX = 224
SPEC = PreprocessSpec(input_size_px=SIDE_PX)
TWELVE_MEGAPIXELS = (4032, 3024)
COMPARED_IMAGES = 60


def main() -> None:
    """Print the table, and the change in probabilities where a bundle is given."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--bundle", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if options.folder:
        files = sorted(options.folder.glob("*.jpg"))[:COMPARED_IMAGES]
        photographs = [Image.open(path).convert("RGB") for path in files]
    else:
        photographs = [Image.fromarray(draw_lesion("MEL", seed=seed, side_px=600)) for seed in range(8)]
    print(f"{'ms to ' + str(SIDE_PX) + ' px':34} {'size':>8}   ours   Pillow     OpenCV  OpenCV 1/4")
    large = enlarged(photographs[0])
    for name, subsampling in (("4:2:0", 2), ("4:4:4", 0)):
        show(f"12 megapixels, {name}", jpeg(large, subsampling))
    show("12 megapixels, 4:2:0, progressive", jpeg(large, 2, is_progressive=True))
    show(f"{photographs[0].width} x {photographs[0].height}", jpeg(photographs[0], 2))
    if options.bundle:
        compare(photographs, options.bundle)


def show(name: str, data: bytes) -> None:
    """One line: milliseconds of each way, and how many times slower than ours."""
    ways: tuple[Callable[[bytes], object], ...] = (ours, pillow_full, opencv_full, opencv_quarter)
    times = [milliseconds(way, data) for way in ways]
    ratios = "  ".join(f"{ms:6.1f} ({ms / times[0]:.1f}x)" for ms in times[1:])
    print(f"{name:34} {len(data) / 2**20:5.2f} MB {times[0]:6.1f}  {ratios}")


def ours(data: bytes) -> NDArray[np.uint8]:
    """What training and serving do."""
    return load_square(data, SPEC)


def pillow_full(data: bytes) -> NDArray[np.uint8]:
    """Decode everything, then cut and scale."""
    return resize_square(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), SPEC)


def opencv_full(data: bytes) -> NDArray[np.uint8]:
    """Decode everything, then cut and scale by area."""
    return opencv_square(data, cv2.IMREAD_COLOR)


def opencv_quarter(data: bytes) -> NDArray[np.uint8]:
    """Decode at a quarter, then cut and scale by area."""
    return opencv_square(data, cv2.IMREAD_REDUCED_COLOR_4)


def opencv_square(data: bytes, mode: int) -> NDArray[np.uint8]:
    """The central square of what OpenCV decodes, scaled."""
    image = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), mode))
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side]
    return np.asarray(cv2.resize(square, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA), np.uint8)[..., ::-1]


def milliseconds(way: Callable[[bytes], object], data: bytes, *, repeats: int = 7) -> float:
    """The best of several runs, in time of the processor."""
    best = float("inf")
    for _ in range(repeats):
        started = time.process_time()
        way(data)
        best = min(best, time.process_time() - started)
    return 1000 * best


def enlarged(photograph: Image.Image) -> Image.Image:
    """As a camera of 12 megapixels might have seen it: larger, with the noise of a sensor."""
    pixels = np.asarray(photograph.resize(TWELVE_MEGAPIXELS, Image.Resampling.BICUBIC))
    return Image.fromarray((pixels + sensor_noise()).clip(0, 255).astype(np.uint8))


@functools.cache
def sensor_noise() -> NDArray[np.float32]:
    """Of three grey levels, the same for every photograph."""
    width, height = TWELVE_MEGAPIXELS
    return 3 * np.random.default_rng(0).standard_normal((height, width, 3), dtype=np.float32)


def jpeg(image: Image.Image, subsampling: int, *, quality: int = 92, is_progressive: bool = False) -> bytes:
    """Encode."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality, subsampling=subsampling, progressive=is_progressive)
    return stream.getvalue()


def compare(photographs: list[Image.Image], folder: Path) -> None:
    """Print how the probabilities of a bundle change with reduced decoding."""
    bundle = load_bundle(folder)
    spec, temperature = bundle.manifest.preprocess, bundle.manifest.decision.temperature
    model = classifier_from_bundle(bundle, BackboneRegistry.load())
    squares: dict[str, list[NDArray[np.uint8]]] = {"full": [], "reduced": [], "at quality 88": []}
    for photograph in photographs:
        large = enlarged(photograph)
        data = jpeg(large, 2)
        squares["full"].append(resize_square(decode_image(data), spec))
        squares["reduced"].append(load_square(data, spec))
        squares["at quality 88"].append(resize_square(decode_image(jpeg(large, 2, quality=88)), spec))
    full, *others = (
        calibrated_probabilities(run_network(model, np.stack(images), spec).logits, temperature)
        for images in squares.values()
    )
    print(f"{len(photographs)} photographs of 12 megapixels at {spec.input_size_px} px, against full decoding:")
    for name, changed in zip(list(squares)[1:], others, strict=True):
        change = np.abs(changed - full)
        levels = np.abs(np.stack(squares[name]).astype(int) - np.stack(squares["full"])).mean()
        print(
            f"  {name:14} probabilities change by {change.mean():.4f} on average, {change.max():.4f} at most; "
            f"another top class for {(changed.argmax(1) != full.argmax(1)).mean():.0%}; pixels by {levels:.2f} levels"
        )


if __name__ == "__main__":
    main()
