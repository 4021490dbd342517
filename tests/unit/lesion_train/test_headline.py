"""The scores that a manifest holds."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import pytest
import safetensors.numpy

from lesion_core.bootstrap import bootstrap_interval
from lesion_core.bundle import REFERENCE
from lesion_core.decision.ood import NetworkOutput
from lesion_core.interval import proportion_interval
from lesion_core.metrics import balanced_multiclass_accuracy
from lesion_core.records import labels_of, lesions_of
from lesion_core.taxonomy import ISIC_2019
from lesion_train.evaluation.choice import Choice, Role
from lesion_train.evaluation.headline import headline_metrics, measure
from lesion_train.evaluation.measure import measure_outputs
from support.bundles import make_tiny_bundle
from support.runs import images

RESAMPLES = 50


def test_a_sensitivity_of_one_is_not_said_to_be_certain() -> None:
    """Three images of two lesions, all of them found: a bootstrap would see no uncertainty."""
    labels = np.array([0, 0, 0, 1, 1])
    lesions = np.array(["a", "a", "b", "c", "d"])
    probabilities = np.eye(8)[[0, 0, 0, 1, 0]]

    scores = measure(probabilities, labels, lesions, ISIC_2019, prefix="val", resamples=RESAMPLES)

    assert scores["val_sensitivity_MEL"] == proportion_interval(2, 2)
    assert scores["val_sensitivity_MEL"].low < 0.5
    assert scores["val_sensitivity_NV"].value == 0.5


def test_an_evaluation_gives_the_same_scores_and_that_of_nine_answers(tmp_path: Path) -> None:
    """BMA with *none of the above* as the slow way has it, interval and all."""
    bundle = make_tiny_bundle(tmp_path / "bundle")
    reference = safetensors.numpy.load(bundle.read(REFERENCE))
    random = np.random.default_rng(0)
    records = images(160, "test")
    labels, lesions = labels_of(records, ISIC_2019), lesions_of(records)
    output = NetworkOutput(
        logits=random.normal(size=(160, 8)) + 2 * np.eye(8)[labels],
        embeddings=random.normal(0, 3, (160, reference["class_means"].shape[1])),
    )
    choice = Choice(dataset="drawn", records=records, part="test", role=Role.TEST, data_digest=None, split_digest=None)

    evaluation, part = measure_outputs(
        output, choice, manifest=bundle.manifest, reference=reference, resamples=RESAMPLES
    )

    scores = headline_metrics(evaluation, prefix="test")
    nine = part.decisions.probabilities
    slow = bootstrap_interval(balanced_multiclass_accuracy, nine, labels, lesions, resamples=RESAMPLES)
    assert attrs.astuple(scores.pop("test_bma_with_none")) == pytest.approx(attrs.astuple(slow))
    assert nine[:, 8].max() > 0.5, "some are called none of the above, which is wrong here"
    assert scores == measure(part.probabilities, labels, lesions, ISIC_2019, prefix="test", resamples=RESAMPLES)
