"""Which models together are better than the best one, by what they say of images that they were not trained on."""

# M models · N images · K trained classes

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from lesion_core.bootstrap import PairedDifference
from lesion_core.durable import write_whole
from lesion_core.errors import LesionError
from lesion_core.metrics import Labels, Probabilities, balanced_multiclass_accuracy
from lesion_core.workspace import Workspace
from lesion_train.contender import Pair
from lesion_train.predictions import OUT_OF_FOLD, Predictions
from lesion_train.record import RunRecord

ROUNDS = 25
FOLDS = 5

Metric = Callable[[Probabilities, Labels], float]


@attrs.frozen(kw_only=True, eq=False)
class Ensemble:
    """What greedy selection chose.

    Attributes:
        weights: float ``(M,)``, at least 0, sum 1; 0 for models that add nothing.
        probabilities: float ``(N, K)``: each image's mean by weights that were chosen without its lesion, so that a
            score on them is not too good.
    """

    weights: NDArray[np.float64]
    probabilities: NDArray[np.float64]


def select_ensemble(
    models: Sequence[Predictions], *, metric: Metric = balanced_multiclass_accuracy, seed: int = 0
) -> Ensemble:
    """Greedy selection with replacement.

    Each round adds the model that raises the metric of the mean most, an earlier one again if need be; of the rounds,
    the best is kept. Ties go to the smaller negative log-likelihood.

    Args:
        models: out-of-fold predictions of the same images.
        metric: higher is better.
        seed: of the folds by which the selection itself is judged.
    Raises:
        LesionError: ``other_images``: the models were not asked about the same images with the same labels, or one
            does not know their patients; ``too_few_images``: they are of one lesion (or patient).
    Source: Caruana et al. 2004, "Ensemble Selection from Libraries of Models".
    """
    first = models[0]
    for other in models[1:]:
        same = (
            np.array_equal(first.isic_ids, other.isic_ids)
            and np.array_equal(first.labels, other.labels)
            and np.array_equal(first.units, other.units)
        )
        if not same or first.codes != other.codes:
            raise LesionError(
                "These models were not asked about the same images with the same labels and patients. Cross-validate "
                "them on one split of folds: lesion-train data split DIR --folds K --out FILE, then cross-validate "
                "--split FILE.",
                code="other_images",
            )
    stacked = np.stack([model.probabilities for model in models])
    blended = np.empty_like(first.probabilities)
    folds = min(FOLDS, len(np.unique(first.units)), int(np.bincount(first.labels).max()))
    if folds < 2:
        raise LesionError(
            f"{len(first.labels)} images are too few to choose an ensemble on: two lesions (or patients), and two "
            "images of a class, are needed.",
            code="too_few_images",
        )
    folding = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    for chosen_on, judged in folding.split(first.labels, first.labels, groups=first.units):
        weights = _greedy(stacked[:, chosen_on], first.labels[chosen_on], metric)
        blended[judged] = np.tensordot(weights, stacked[:, judged], axes=1)
    return Ensemble(weights=_greedy(stacked, first.labels, metric), probabilities=blended)


def keep_ensemble(
    chosen: Ensemble, models: Sequence[Predictions], studies: Sequence[RunRecord], workspace: Workspace
) -> tuple[RunRecord, PairedDifference]:
    """Record what was chosen, in a run of its own, so that it can be used, and sent to MLflow.

    Its folder holds ``ensemble.json`` (each study with its weight and balanced accuracy, and the gain over the best of
    them), the blended predictions as those of a cross-validation, so that ensembles can be chosen from as well, and
    scores.

    Args:
        chosen: of ``models``.
        models: what the studies said, in their order.
        studies: the cross-validations.
        workspace: where it is recorded.
    Returns:
        The record, and the gain in balanced accuracy over the best study.
    """
    blended = attrs.evolve(models[0], probabilities=chosen.probabilities)
    scores = [balanced_multiclass_accuracy(model.probabilities, model.labels) for model in models]
    gain = Pair(part=OUT_OF_FOLD, first=models[int(np.argmax(scores))], second=blended).difference("BMA")
    facts = studies[0].description["facts"]
    record = RunRecord.create(
        workspace.runs,
        "ensemble",
        {"studies": ", ".join(study.folder.name for study in studies)},
        {key: facts[key] for key in ("dataset", "data_digest", "split_digest") if key in facts},
    )
    content = {
        "members": [
            {"study": study.folder.name, "weight": float(weight), "bma": score}
            for study, weight, score in zip(studies, chosen.weights, scores, strict=True)
        ],
        "bma_gain_over_best": attrs.asdict(gain.difference),
    }
    write_whole(record.ensemble, json.dumps(content, indent=2) + "\n")
    record.write_predictions(OUT_OF_FOLD, blended)
    record.write_scores({"out_of_fold_bma": gain.second})
    record.finish()
    return record, gain


def _greedy(stacked: NDArray[np.float64], labels: NDArray[np.int64], metric: Metric) -> NDArray[np.float64]:
    def quality(probabilities: NDArray[np.float64]) -> tuple[float, float]:
        own = probabilities[np.arange(len(labels)), labels]
        return metric(probabilities, labels), float(np.log(own.clip(min=1e-12)).mean())

    counts = np.zeros(len(stacked))
    total = np.zeros_like(stacked[0])
    best, best_counts = (-np.inf, -np.inf), counts.copy()
    for size in range(1, ROUNDS + 1):
        qualities = [quality((total + model) / size) for model in stacked]
        winner = max(range(len(stacked)), key=lambda model: qualities[model])
        counts[winner] += 1
        total += stacked[winner]
        if qualities[winner] > best:
            best, best_counts = qualities[winner], counts.copy()
    return best_counts / best_counts.sum()
