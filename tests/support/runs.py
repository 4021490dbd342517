"""Recorded runs without training, which tracking and promotion work on; and settings of a training that is short."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np

from lesion_core.bundle import CARD, Bundle, BundleManifest, write_bundle
from lesion_core.frozen_split import write_parts
from lesion_core.interval import Interval
from lesion_core.records import ImageRecord
from lesion_core.taxonomy import ISIC_2019
from lesion_train.card import REQUIRED_SECTIONS
from lesion_train.config import TrainConfig
from lesion_train.evaluation.headline import measure
from lesion_train.predictions import Predictions
from lesion_train.record import RunRecord

CODES = ISIC_2019.trained_codes
FACTS = {
    "dataset": "synthetic:drawn",
    "data_digest": "d" * 64,
    "split_digest": "0" * 64,
    "git_revision": "a" * 40 + "-dirty",
    "lock_digest": "1" * 64,
    "weights_origin": "none",
}


def images(count: int, part: str) -> tuple[ImageRecord, ...]:
    """Records of images that are nowhere, two a lesion; the classes take turns by lesion."""
    return tuple(
        ImageRecord(
            isic_id=f"{part}_{n:05}",
            path=Path("nowhere.jpg"),
            diagnosis=CODES[n // 2 % len(CODES)],
            lesion_id=f"{part}-lesion-{n // 2}",
        )
        for n in range(count)
    )


def predictions(records: Sequence[ImageRecord], *, skill: float, seed: int = 0) -> Predictions:
    """Calibrated guesses about images: with probability ``skill`` the class is known, else it is drawn evenly."""
    random = np.random.default_rng(seed)
    labels = np.array([CODES.index(record.diagnosis) for record in records])
    called = np.where(random.random(len(labels)) < skill, labels, random.integers(0, len(CODES), len(labels)))
    rest = (1 - skill) * (len(CODES) - 1) / len(CODES)
    probabilities = np.full((len(labels), len(CODES)), rest / (len(CODES) - 1))
    probabilities[np.arange(len(labels)), called] = 1 - rest
    return Predictions.of(records, probabilities, CODES)


def make_run(runs: Path, *, epochs: int = 3, steps: int = 20, parent: RunRecord | None = None) -> RunRecord:
    """A run with rows of every kind and a split, that has not ended yet."""
    record = RunRecord.create(runs, "drawn", {"backbone": "none", "epochs": epochs}, FACTS, parent=parent)
    record.config.write_text("epochs = 3\n")
    write_parts({"train": images(16, "train"), "validation": images(16, "validation")}, record.split)
    add_rows(record, epochs=range(1, epochs + 1), steps=range(1, steps + 1))
    record.add_system(1, {"cpu_utilization_percentage": 50.0})
    record.report.mkdir(exist_ok=True)
    (record.report / "roc.svg").write_bytes(b"a figure")
    return record


def add_rows(record: RunRecord, *, epochs: Sequence[int] = (), steps: Sequence[int] = ()) -> None:
    """More epochs and steps; an epoch holds a score that is not a number, as a class without an image gives."""
    for epoch in epochs:
        record.add_epoch(epoch, {"train_loss": 1 / epoch, "val_bma": 0.1 * epoch, "val_macro_auroc": float("nan")})
    for step in steps:
        record.add_step(step, {"loss": 2 / 3 / step, "learning_rate": 1e-3})


def add_bundle(record: RunRecord, tiny: Bundle, *, seed: int = 0, card: bytes | None = None, **scores: float) -> Bundle:
    """Give a run a bundle like ``tiny`` with other facts, so that each has its own digest."""
    facts = record.description["facts"]
    metrics = {key: Interval(value=value, low=value - 0.1, high=value + 0.1) for key, value in scores.items()}
    manifest = attrs.evolve(
        tiny.manifest,
        training=attrs.evolve(
            tiny.manifest.training,
            seed=seed,
            git_revision=facts["git_revision"],
            data_digest=facts["data_digest"],
            split_digest=facts["split_digest"],
            metrics=metrics or {"val_bma": Interval(value=0.5, low=0.4, high=0.6)},
        ),
    )
    files = {name: tiny.read(name) for name in tiny.manifest.files}
    return write_bundle(record.bundle, manifest, {**files, CARD: full_card(manifest) if card is None else card})


def full_card(manifest: BundleManifest) -> bytes:
    """A card that has every section; for tests of what is done with cards."""
    licences = f"{manifest.backbone.code_license}, {manifest.backbone.weights_license}"
    return "\n".join(f"## {heading}\n\nDrawn. {licences}\n" for heading in REQUIRED_SECTIONS).encode()


def make_contender(
    runs: Path,
    tiny: Bundle,
    *,
    skill: float,
    seed: int = 0,
    count: int = 320,
    split_digest: str = "5" * 64,
    with_predictions: bool = True,
    card: bytes | None = None,
    ece: float | None = None,
) -> RunRecord:
    """A finished run whose model is right about ``skill`` of the test images, and guesses the others."""
    record = RunRecord.create(runs, "contender", {"seed": seed}, {**FACTS, "split_digest": split_digest})
    said = predictions(images(count, "test"), skill=skill, seed=seed)
    scores = measure(said.probabilities, said.labels, said.lesions, ISIC_2019, prefix="test", resamples=20)
    values = {key: interval.value for key, interval in scores.items()}
    add_bundle(record, tiny, seed=seed, card=card, **({**values, "test_ece": ece} if ece is not None else values))
    if with_predictions:
        record.write_predictions("test", said)
    return record


def fast_settings(data: Path, **changes: object) -> TrainConfig:
    """Of a run that takes seconds, on ten drawn images a class."""
    loop = {} if changes.get("linear_probe") else {"epochs": 2}
    defaults = {"data": data, **loop, "input_size_px": 64, "threads": 1, "pretrained": "none", "batch_size": 16}
    defaults["onnx"] = False  # test_export does
    # Ten images are of five lesions: too few for three parts.
    defaults |= {"validation_fraction": 0.2, "test_fraction": 0.0}
    return TrainConfig(**{**defaults, **changes})  # type: ignore[arg-type]
