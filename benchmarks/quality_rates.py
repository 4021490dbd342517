"""How often does the quality gate name a real dermoscopic image, how much of what is degraded does it catch, how fast?

    ./pants run benchmarks/quality_rates.py -- DIR

DIR holds folders of real images: ``isic2019-150``, ``isic2019-84`` (both in the ISIC 2019 layout), ``fullsize`` and
``ood/*``; those that are missing are left out. Takes about a minute. The baseline is the gate that came before: four
rules on the size and on the mean and the spread of the grey levels, each of which only warned. Rates leave out the
size, which is by design too small in ``isic2019-84``; intervals are Wilson's at 95 %.
"""

from __future__ import annotations

import io
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import binomtest

from lesion_core.imaging import decode_image
from lesion_core.quality import LIMITS, assess_quality
from lesion_core.wire import quality_grade

Pixels = NDArray[np.uint8]
FOLDERS = {
    "isic2019-150": "isic2019-150/ISIC_2019_Training_Input",
    "isic2019-84": "isic2019-84/ISIC_2019_Training_Input",
    "fullsize": "fullsize",
    "clinical photographs": "ood/clinical_photo",
    "ordinary photographs": "ood/natural_photo",
}
SIZE = "low_resolution"


def main() -> None:
    """Print rates, shares caught, and times."""
    cv2.setNumThreads(1)
    root = Path(sys.argv[1])
    for name, folder in FOLDERS.items():
        paths = sorted((root / folder).glob("*.jpg"))
        if paths:
            print_rates(name, paths)
    images = [decode_image(path.read_bytes()) for path in sorted((root / "fullsize").glob("*.jpg"))]
    if images:
        print_caught(images)
        print_times(images)


def print_rates(name: str, paths: Sequence[Path]) -> None:
    """Share of one folder's images that each finding warns of or rejects."""
    counts: Counter[tuple[str, str]] = Counter()
    for path in paths:
        image = decode_image(path.read_bytes())
        findings = assess_quality(image)
        besides = [finding for finding in findings if finding.code != SIZE]
        counts.update((finding.code, finding.grade) for finding in findings)
        counts[("overall", quality_grade(besides))] += 1
        counts[("baseline", "warn" if baseline(image) - {SIZE} else "ok")] += 1
    print(f"\n{name}: {len(paths)} images")
    for code in ("overall", "baseline", *(limit.code for limit in LIMITS)):
        cells = [f"{grade} {rate(counts[(code, grade)], len(paths))}" for grade in ("warn", "reject")]
        if any(counts[(code, grade)] for grade in ("warn", "reject")) or code in ("overall", "baseline"):
            label = f"{code} besides size" if code in ("overall", "baseline") else code
            print(f"  {label:22}  {'   '.join(cells)}")


def rate(count: int, total: int) -> str:
    """A share with its interval."""
    interval = binomtest(count, total).proportion_ci(method="wilson")
    return f"{count:5} = {count / total:6.2%} ({interval.low:.2%} to {interval.high:.2%})"


def baseline(image: Pixels) -> set[str]:
    """Codes of the four rules of before."""
    grey = image.mean(axis=2)
    rules = {
        SIZE: min(image.shape[:2]) < 120,
        "too_dark": grey.mean() < 60,
        "too_bright": grey.mean() > 225,
        "no_contrast": grey.std() < 8,
    }
    return {code for code, is_broken in rules.items() if is_broken}


def clipped_to_levels(values: NDArray[np.float64]) -> Pixels:
    """Back to uint8."""
    return values.round().clip(0, 255).astype(np.uint8)


def gamma(exponent: float) -> Callable[[Pixels], Pixels]:
    """A tone curve; above 1 darker."""
    return lambda image: clipped_to_levels(255 * (image / 255) ** exponent)


def gain(*factors: float) -> Callable[[Pixels], Pixels]:
    """Exposure, or a cast where the channels differ."""
    return lambda image: clipped_to_levels(image * np.asarray(factors))


def blur(sigma_px: float) -> Callable[[Pixels], Pixels]:
    """Out of focus."""
    return lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px), dtype=np.uint8)


def motion(length_px: int) -> Callable[[Pixels], Pixels]:
    """A hand that moved sideways."""
    return lambda image: np.asarray(cv2.blur(image, (length_px, 1)), dtype=np.uint8)


def slanted_motion(length_px: int) -> Callable[[Pixels], Pixels]:
    """A hand that moved along the diagonal."""
    path = np.eye(length_px, dtype=np.float32) / length_px
    return lambda image: np.asarray(cv2.filter2D(image, -1, path), dtype=np.uint8)


def jpeg(quality: int) -> Callable[[Pixels], Pixels]:
    """Compressed hard."""

    def change(image: Pixels) -> Pixels:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=quality)
        return np.asarray(Image.open(stream).convert("RGB"))

    return change


def smaller(factor: int) -> Callable[[Pixels], Pixels]:
    """A thumbnail."""
    return lambda image: np.asarray(
        cv2.resize(image, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA), dtype=np.uint8
    )


def round_field(share: float) -> Callable[[Pixels], Pixels]:
    """Black outside a centred circle that covers ``share`` of the image."""

    def change(image: Pixels) -> Pixels:
        height, width = image.shape[:2]
        y, x = np.ogrid[:height, :width]
        outside = (y - height / 2) ** 2 + (x - width / 2) ** 2 > share * height * width / np.pi
        return np.where(outside[..., None], 0, image).astype(np.uint8)

    return change


def noise(sigma: float) -> Callable[[Pixels], Pixels]:
    """Sensor noise, the same for every image."""
    random = np.random.default_rng(0)
    return lambda image: clipped_to_levels(image + random.normal(0, sigma, image.shape))


def plain(image: Pixels) -> Pixels:
    """The mean colour, everywhere."""
    return np.broadcast_to(clipped_to_levels(image.mean(axis=(0, 1))), image.shape).copy()


def ruler(image: Pixels) -> Pixels:
    """A scale bar with 16 marks near the lower edge."""
    copy = image.copy()
    height, width = image.shape[:2]
    y = round(0.9 * height)
    cv2.line(copy, (width // 10, y), (9 * width // 10, y), (20, 20, 20), 3)
    for x in np.linspace(width // 10, 9 * width // 10, 16).astype(int):
        cv2.line(copy, (int(x), y - height // 30), (int(x), y), (20, 20, 20), 3)
    return copy


def hairs(image: Pixels) -> Pixels:
    """250 dark curved hairs of 4 px."""
    copy, random = image.copy(), np.random.default_rng(0)
    height, width = image.shape[:2]
    for _ in range(250):
        centre = random.uniform((0, 0), (width, height)).astype(int)
        axes = random.integers(60, 200, 2).tolist()
        start = int(random.integers(0, 360))
        colour = (45, 35, 30)
        cv2.ellipse(copy, centre.tolist(), axes, 0, start, start + 60, colour, 4, cv2.LINE_AA)
    return copy


DEGRADATIONS: dict[str, Callable[[Pixels], Pixels]] = {
    "unchanged": lambda image: image,
    **{f"Gaussian blur, sigma {sigma} px": blur(sigma) for sigma in (2, 4, 8, 16)},
    **{f"motion blur, {length} px": motion(length) for length in (9, 17, 33)},
    **{f"diagonal motion, {length} px": slanted_motion(length) for length in (17, 33)},
    "JPEG quality 5": jpeg(5),
    **{f"gamma {exponent}": gamma(exponent) for exponent in (3.0, 2.0, 0.5, 0.25)},
    **{f"exposure x {factor}": gain(factor) for factor in (0.5, 0.25, 0.1, 1.5, 2.5)},
    **{f"1/{factor} of the size": smaller(factor) for factor in (2, 4, 6)},
    **{f"round field, {share:.0%} of the image": round_field(share) for share in (0.7, 0.5, 0.2)},
    **{f"noise, sigma {sigma}": noise(sigma) for sigma in (15, 40)},
    "one colour": plain,
    "one colour, noise 10": lambda image: noise(10)(plain(image)),
    "blue cast": gain(0.5, 0.8, 1.2),
    "green cast": gain(0.6, 1.2, 0.7),
    "drawn ruler": ruler,
    "drawn hairs": hairs,
}


def print_caught(images: Sequence[Pixels]) -> None:
    """Share of degraded copies that get any finding, that are rejected, and what names them."""
    print(f"\nDegraded copies of {len(images)} images of full size: share with a finding, rejected, baseline; named as")
    for name, change in DEGRADATIONS.items():
        copies = [change(image) for image in images]
        found = [assess_quality(copy) for copy in copies]
        grades = Counter(quality_grade(findings) for findings in found)
        codes = Counter(finding.code for findings in found for finding in findings)
        before = sum(bool(baseline(copy)) for copy in copies)
        shares = [count / len(images) for count in (grades["warn"] + grades["reject"], grades["reject"], before)]
        named = ", ".join(f"{code} {count / len(images):.0%}" for code, count in codes.most_common(3))
        print(f"  {name:28} {shares[0]:5.0%} {shares[1]:5.0%} {shares[2]:5.0%}   {named}")


def print_times(images: Sequence[Pixels]) -> None:
    """Median time of an image, one thread, beside cheaper ways to judge it."""

    def laplacian(image: Pixels) -> float:
        return float(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var())

    functions: dict[str, Callable[[Pixels], object]] = {
        "this gate": assess_quality,
        "baseline of four rules": baseline,
        "grey and variance of the Laplacian": laplacian,
    }
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(5):
        for image in images:
            for name, function in functions.items():
                started = time.perf_counter()
                function(image)
                times[name].append(1000 * (time.perf_counter() - started))
    height, width = images[0].shape[:2]
    print(f"\nMilliseconds for {width} x {height} pixels: median, fastest")
    for name, values in times.items():
        print(f"  {name:36} {np.median(values):6.2f} {min(values):6.2f}")


if __name__ == "__main__":
    main()
