"""Greedy selection of models that are better together."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
from numpy.typing import NDArray

from lesion_core.errors import LesionError
from lesion_core.metrics import balanced_multiclass_accuracy
from lesion_train.ensemble import select_ensemble
from lesion_train.predictions import Predictions

IMAGES = 600


def predictions(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> Predictions:
    rows = range(len(labels))
    return Predictions(
        isic_ids=np.array([f"ISIC_{row:04d}" for row in rows]),
        lesions=(lesions := np.array([f"L{row // 2}" for row in rows])),
        units=lesions,
        labels=labels,
        probabilities=probabilities / probabilities.sum(axis=1, keepdims=True),
        codes=("MEL", "NV", "DF"),
    )


def noisy(seed: int, noise: float) -> Predictions:
    labels = np.repeat(np.random.default_rng(0).choice(3, IMAGES // 2, p=[0.3, 0.6, 0.1]), 2)
    random = np.random.default_rng(seed)
    return predictions(np.exp(2 * np.eye(3)[labels] + noise * random.standard_normal((IMAGES, 3))), labels)


def test_models_that_err_in_different_places_are_better_together() -> None:
    """On lesions that the weights were not chosen on, too."""
    models = [noisy(seed, 1.6) for seed in (1, 2, 3)]

    chosen = select_ensemble(models)

    assert chosen.weights.sum() == pytest.approx(1)
    assert (chosen.weights > 0).all()
    best = max(balanced_multiclass_accuracy(model.probabilities, model.labels) for model in models)
    assert balanced_multiclass_accuracy(chosen.probabilities, models[0].labels) > best + 0.03
    np.testing.assert_allclose(chosen.probabilities.sum(axis=1), 1)


def test_a_model_that_adds_nothing_gets_no_weight() -> None:
    """One that guesses."""
    chosen = select_ensemble([noisy(1, 0.5), noisy(2, 30.0)])

    assert chosen.weights.tolist() == [1.0, 0.0]


def test_the_score_does_not_profit_from_choosing() -> None:
    """Among thirty models that guess, the luckiest few look better than chance; the held-out mean does not."""
    models = [noisy(seed, 30.0) for seed in range(30)]

    chosen = select_ensemble(models)

    on_all = np.tensordot(chosen.weights, np.stack([model.probabilities for model in models]), axes=1)
    labels = models[0].labels
    assert balanced_multiclass_accuracy(on_all, labels) > 0.42
    assert balanced_multiclass_accuracy(chosen.probabilities, labels) < balanced_multiclass_accuracy(on_all, labels)


def test_models_of_other_images_are_refused() -> None:
    """Their predictions cannot be averaged."""
    one = noisy(1, 1.0)
    other = attrs.evolve(one, isic_ids=one.isic_ids[::-1])

    with pytest.raises(LesionError, match="not asked about the same images") as caught:
        select_ensemble([one, other])

    assert caught.value.code == "other_images"


@pytest.mark.parametrize(("images", "lesions"), [(12, 6), (20, 3), (2, 2)])
def test_few_images_are_chosen_on_in_fewer_folds_or_refused(images: int, lesions: int) -> None:
    """As two folds of a small data set leave them."""
    labels = np.arange(images) % 2
    units = np.array([f"L{row}" for row in np.arange(images) % lesions])
    models = [
        attrs.evolve(predictions(np.random.default_rng(seed).random((images, 3)), labels), lesions=units, units=units)
        for seed in (1, 2)
    ]

    if images == 2:
        with pytest.raises(LesionError, match="2 images are too few"):
            select_ensemble(models)
    else:
        np.testing.assert_allclose(select_ensemble(models).probabilities.sum(axis=1), 1)
