"""A network that takes age, sex and site besides the image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lesion_core.bundle import load_bundle
from lesion_core.datasets.synthetic import write_synthetic_dataset
from lesion_core.decision.metadata import PatientMetadata, encode_metadata, metadata_features
from lesion_core.workspace import Workspace
from lesion_plugins.classifier import Classifier, build_classifier
from lesion_train.config import Augmentation, TrainConfig
from lesion_train.data import METADATA_DROPOUT, EpochPlan, epoch_batches, unknown_metadata
from lesion_train.evaluation.run import EvaluationOptions, evaluate_bundle
from lesion_train.fit import fit
from lesion_train.inference import run_network
from lesion_train.loop import Part, train_classifier
from lesion_train.mixing import Mixing
from support.small_network import SIDE, SMALL_CNN

SITES = ("back", "head/neck")
PATIENTS = (PatientMetadata(sex="female", anatom_site_general="back"), PatientMetadata(sex="male", age_approx=80.0))


def noise(count: int) -> Part:
    """Images that say nothing, of patients who say all."""
    labels = np.arange(count) % 2
    told = encode_metadata([PATIENTS[label] for label in labels], SITES).astype(np.float32)
    pixels = np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
    return Part(squares=pixels, labels=labels, metadata=told)


def trained(part: Part) -> Classifier:
    torch.manual_seed(0)
    model, _ = build_classifier(
        SMALL_CNN, classes=2, input_size_px=SIDE, pretrained="none", metadata_features=metadata_features(SITES)
    )
    settings = TrainConfig(
        data=Path("unused"), epochs=6, batch_size=16, threads=1, device="cpu", metadata_fusion=True, label_smoothing=0.0
    )
    return train_classifier(model, part, part, SMALL_CNN.preprocess, SMALL_CNN, settings)


def accuracy(model: Classifier, part: Part, metadata: NDArray[np.float32] | None) -> float:
    logits = run_network(model, part.squares, SMALL_CNN.preprocess, metadata).logits
    return float((logits.argmax(axis=1) == part.labels).mean())


def test_what_patients_say_is_learnt_and_images_without_it_are_answered() -> None:
    """The images are noise: with the metadata all are right, without they are guesses."""
    part, unseen = noise(64), noise(200)

    model = trained(part)

    assert accuracy(model, unseen, unseen.metadata) == 1.0
    assert 0.3 < accuracy(model, unseen, None) < 0.7


def test_nothing_known_is_what_an_empty_form_says() -> None:
    """However many sites the network knows."""
    np.testing.assert_array_equal(
        unknown_metadata(metadata_features(SITES)), encode_metadata([PatientMetadata()], SITES)
    )


def test_some_images_are_shown_without_their_metadata_and_always_the_same() -> None:
    """A share of them, by seed, epoch and step alone."""
    part = noise(400)
    plan = EpochPlan(spec=SMALL_CNN.preprocess, augmentation=Augmentation.LIGHT, batch_size=100, seed=0, classes=2)

    def shown() -> NDArray[np.float32]:
        batches = epoch_batches(part.squares, part.labels, plan, epoch=1, metadata=part.metadata)
        return np.concatenate([batch.metadata.numpy() for batch in batches if batch.metadata is not None])

    first = shown()

    np.testing.assert_array_equal(first, shown())
    lost = (first == unknown_metadata(first.shape[1])).all(axis=1).mean()
    assert lost == pytest.approx(METADATA_DROPOUT, abs=0.08)


def test_what_is_known_of_patients_is_mixed_as_their_images_are() -> None:
    """Of two diagnoses with two patients, the target says how much of which patient is told; of a lost one, nothing."""
    part = noise(400)
    plan = EpochPlan(
        spec=SMALL_CNN.preprocess,
        augmentation=Augmentation.LIGHT,
        batch_size=100,
        seed=0,
        classes=2,
        mixing=Mixing(mixup=1.0),
    )
    assert part.metadata is not None
    nothing, one, other = unknown_metadata(part.metadata.shape[1])[0], *part.metadata[:2]
    told = torch.from_numpy(np.stack([nothing, one, other]).T)

    for batch in epoch_batches(part.squares, part.labels, plan, epoch=1, metadata=part.metadata):
        assert batch.metadata is not None
        shares = torch.linalg.lstsq(told, batch.metadata.T).solution.T  # of nothing, the one and the other
        torch.testing.assert_close(shares @ told.T, batch.metadata)
        torch.testing.assert_close(shares.sum(1), torch.ones(100))
        assert (shares[:, 1:] <= batch.targets + 1e-5).all()
        is_told = shares[:, 0].abs() < 1e-5
        torch.testing.assert_close(shares[is_told, 1:], batch.targets[is_told], atol=1e-5, rtol=0)
        assert 0 < is_told.sum() < 100


def test_a_run_makes_a_bundle_that_is_measured_with_and_without_metadata(tmp_path: Path) -> None:
    """The decision layer adds nothing of its own to what the network made of it."""
    data = write_synthetic_dataset(tmp_path / "data", images_per_class=10, side_px=64)
    settings = TrainConfig(
        data=data,
        epochs=1,
        input_size_px=64,
        pretrained="none",
        threads=1,
        validation_fraction=0.2,
        test_fraction=0.0,
        metadata_fusion=True,
        onnx=False,
    )

    made = fit(settings, Workspace(tmp_path / "home")).bundle

    manifest = load_bundle(made.folder).manifest
    assert manifest.metadata_sites == ()  # drawn lesions are nowhere
    assert manifest.decision_with_metadata is not None
    assert manifest.decision_with_metadata.metadata is None
    measured = evaluate_bundle(made, data, tmp_path / "report", EvaluationOptions(threads=1, resamples=10))
    assert measured.with_metadata is not None
