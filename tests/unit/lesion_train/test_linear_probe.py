"""A head alone, fitted on features that are taken once."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lesion_core.preprocess_spec import Views
from lesion_plugins.classifier import Classifier, build_classifier
from lesion_train.config import TrainConfig
from lesion_train.inference import run_network
from lesion_train.linear_probe import fit_linear_probe
from lesion_train.loop import Part
from support.small_network import SIDE, SMALL_CNN


def colours(labels: list[int], classes: int, *, seed: int = 0) -> Part:
    """Images that differ between classes in brightness, and within one by noise."""
    random = np.random.default_rng(seed)
    levels = 30 + 190 * np.array(labels) / max(1, classes - 1)
    pixels = levels[:, None, None, None] + random.normal(0, 8, (len(labels), SIDE, SIDE, 3))
    return Part(squares=pixels.clip(0, 255).astype(np.uint8), labels=np.array(labels))


def model_of(classes: int) -> Classifier:
    torch.manual_seed(0)
    model, _ = build_classifier(SMALL_CNN, classes=classes, input_size_px=SIDE, pretrained="none", dropout=0.5)
    return model


def config(**changes: object) -> TrainConfig:
    return TrainConfig(data=Path("unused"), threads=1, device="cpu", **changes)  # type: ignore[arg-type]


def predicted(model: Classifier, part: Part) -> NDArray[np.int64]:
    return run_network(model, part.squares, SMALL_CNN.preprocess).logits.argmax(axis=1)


@pytest.mark.parametrize("classes", [2, 3, 8])
def test_the_head_separates_what_the_features_separate(classes: int) -> None:
    """Of two classes, of which scikit-learn gives one column, as of many."""
    labels = [n % classes for n in range(10 * classes)]
    train, held_out = colours(labels, classes), colours(labels, classes, seed=1)

    model = fit_linear_probe(model_of(classes), train, held_out, SMALL_CNN.preprocess, config()).model

    assert (predicted(model, held_out) == held_out.labels).mean() > 0.9
    assert not model.training


@pytest.mark.parametrize("views", [Views.NONE, Views.FLIPS_AND_ROTATIONS])
def test_what_it_says_of_its_own_images_is_known_without_asking_again(views: Views) -> None:
    """The features are taken once; the logits are those of the network."""
    labels = [n % 3 for n in range(30)]
    train, held_out = colours(labels, 3), colours(labels, 3, seed=1)
    spec = attrs.evolve(SMALL_CNN.preprocess, views=views)

    probe = fit_linear_probe(model_of(3), train, held_out, spec, config())

    for part, said in ((train, probe.train), (held_out, probe.validation)):
        asked = run_network(probe.model, part.squares, spec)
        np.testing.assert_allclose(said.logits, asked.logits, atol=1e-4)
        np.testing.assert_array_equal(said.embeddings, asked.embeddings)


def test_the_backbone_stays_as_it_was() -> None:
    """Its batch statistics too."""
    model, before = model_of(3), model_of(3).backbone.state_dict()
    part = colours([0, 1, 2] * 4, 3)

    fit_linear_probe(model, part, part, SMALL_CNN.preprocess, config())

    for name, tensor in model.backbone.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_class_without_images_is_never_the_answer() -> None:
    """A taxonomy may know more than the data."""
    part = colours([0, 2] * 10, 3)

    model = fit_linear_probe(model_of(3), part, part, SMALL_CNN.preprocess, config()).model

    assert set(predicted(model, part)) == {0, 2}


def test_rare_classes_count_more_with_balance() -> None:
    """Where features overlap, the answer follows the weights."""
    train = colours([0] * 40 + [1] * 4, 2)
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, train.squares[:].shape, dtype=np.uint8)
    overlapping = Part(squares=noise, labels=train.labels)

    plain, balanced = (
        fit_linear_probe(model_of(2), overlapping, overlapping, SMALL_CNN.preprocess, config(balance=balance)).model
        for balance in (0.0, 1.0)
    )

    assert (predicted(balanced, overlapping) == 1).sum() > (predicted(plain, overlapping) == 1).sum()
