"""Does monitoring stay silent where nothing has changed, and how many images does it take where something has?

    ./pants run benchmarks/drift.py -- DATA BUNDLE

DATA holds ``isic2019-150`` that BUNDLE was trained on, ``isic2019-84`` and ``ood``. Every image goes through the
predictor, as a server would answer it; one image of each lesion. Windows without drift are drawn from the held-out test
part; the others are the same images darkened or blurred, images of another hospital, and photographs of skin. Printed:
how many of 20 reports alarm by size of the window, and what alarms.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from bundle_outputs import THREADS
from numpy.typing import NDArray

from lesion_core.bundle import load_bundle
from lesion_core.datasets import read_dataset
from lesion_core.drift_reference import DRIFT, DriftReference, DriftSample, embedding_from_text, sample_by_lesion
from lesion_core.imaging import decode_image
from lesion_core.records import ImageRecord, lesions_of
from lesion_core.wire import DescribedPrediction
from lesion_serve.monitor.drift import FEWEST_IMAGES, LEVEL, compare
from lesion_serve.predictor import Predictor
from lesion_train.config import TrainConfig
from lesion_train.parts import make_split

REPORTS = 20
SIZES = (FEWEST_IMAGES, 50, 100, 200)
LESIONS = 400
Change = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


def main(data: Path, folder: Path) -> None:
    """Print a table."""
    bundle, dataset = load_bundle(folder), read_dataset(data / "isic2019-150")
    recorded = folder.parent / "split.csv"
    config = TrainConfig(data=data, seed=bundle.manifest.training.seed, split=recorded if recorded.exists() else None)
    split = make_split(dataset, config)
    if split.digest != bundle.manifest.training.split_digest:
        sys.exit("This bundle was trained on another split: give the data that it was trained on.")
    reference = DriftReference.from_bytes(bundle.read(DRIFT)).sample
    predictor = Predictor.load(folder, version="benchmark", threads=THREADS)
    held_out = by_lesion(split.test)
    hospital = [record for record in read_dataset(data / "isic2019-84").records if record.source == "BCN_20000"]

    def described(files: Sequence[Path], change: Change | None = None) -> DriftSample:
        return describe_images(predictor, files, change)

    plain, skin = described(held_out), described(sorted((data / "ood" / "clinical_photo").iterdir()))
    sources = {
        "held-out images": plain,
        "darkened by a quarter": described(held_out, lambda image: (image * 0.75).astype(np.uint8)),
        "blurred (sigma 1 px)": described(held_out, lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), 1.0))),
        "another hospital, 84 px": described(by_lesion(hospital), enlarged),
        "photographs of skin": skin,
        "held-out, a tenth of those": mixed(plain, skin),
    }
    print(f"{REPORTS} reports each, false alarms in {LEVEL:.0%} of reports; compared with {len(reference)} images")
    print(f"{'window':28}" + "".join(f"{size:>7}" for size in SIZES) + "  what alarms, of the largest")
    codes = bundle.manifest.taxonomy.codes
    threshold = bundle.manifest.decision.ood.threshold
    for name, sample in sources.items():
        counts, alarms = [], Counter[str]()
        for size in SIZES:
            if size > len(sample):
                counts.append("–")
                continue
            alarms.clear()
            alarmed = 0
            for report in range(REPORTS):
                rows = np.random.default_rng(1000 * size + report).permutation(len(sample))[:size]
                checks = compare(reference, sample.take(rows), codes=codes, outside_threshold=threshold, seed=report)
                found = {f"{check.name} {check.statistic}" for check in checks if check.is_alarm}
                alarms.update(found)
                alarmed += bool(found)
            counts.append(str(alarmed))
        print(f"{name:28}" + "".join(f"{count:>7}" for count in counts), " ", dict(alarms.most_common(5)), flush=True)


def by_lesion(records: Sequence[ImageRecord]) -> list[Path]:
    """Files of one image for each lesion."""
    return [records[row].path for row in sample_by_lesion(lesions_of(records), images=LESIONS).tolist()]


def enlarged(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """To the size of the training images."""
    return np.asarray(cv2.resize(image, (150, 150), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def mixed(one: DriftSample, other: DriftSample) -> DriftSample:
    """The first, with so many of the other that they are a tenth."""
    few = np.arange(len(one) // 9)
    both = (one, other.take(few[few < len(other)]))
    return DriftSample(
        embeddings=np.concatenate([part.embeddings for part in both]),
        probabilities=np.concatenate([part.probabilities for part in both]),
        strangeness=np.concatenate([part.strangeness for part in both]),
        quality={name: np.concatenate([part.quality[name] for part in both]) for name in one.quality},
    )


def describe_images(predictor: Predictor, files: Sequence[Path], change: Change | None) -> DriftSample:
    """What a server would keep of these images."""
    answers = []
    for path in files:
        data = path.read_bytes()
        if change is not None:
            done, png = cv2.imencode(".png", change(decode_image(data))[:, :, ::-1])
            assert done
            data = png.tobytes()
        answer = predictor.predict(data, features=True)
        if not isinstance(answer, DescribedPrediction):
            sys.exit("This bundle holds no sample to compare with: train one with this release.")
        answers.append(answer)
    return DriftSample(
        embeddings=np.stack([embedding_from_text(one.features.embedding_base64) for one in answers]),
        probabilities=np.array([one.features.probabilities for one in answers], dtype=np.float32),
        strangeness=np.array([one.out_of_distribution.score for one in answers], dtype=np.float32),
        quality={
            name: np.array([one.features.quality[name] for one in answers], dtype=np.float32)
            for name in answers[0].features.quality
        },
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
