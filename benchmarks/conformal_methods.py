"""Which conformal score gives the smallest sets that keep their promise to every class?

    ./pants run benchmarks/conformal_methods.py -- DIR BUNDLE

DIR is the data that BUNDLE was trained on. The bundle's validation part is halved by lesion, ten times over: one half
sets temperature and quantiles for 90 % coverage, the other is counted. Marginal quantiles (one for all classes) are the
baseline; LAC with one quantile a class is what ``lesion_core.decision.conformal`` does.

Source: LAC: Sadinle et al. 2019; APS: Romano et al. 2020; RAPS: Angelopoulos et al. 2021 (both without randomisation).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bundle_outputs import bundle_outputs
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from lesion_core.decision.calibration import calibrated_probabilities, fit_temperature

Array = NDArray[np.float64]
COVERAGE = 0.90
HALVINGS = 10


def lac(probabilities: Array) -> Array:
    """One less the probability: float ``(N, K)`` → float ``(N, K)``."""
    return 1.0 - probabilities


def raps(penalty: float, free: int) -> Callable[[Array], Array]:
    """Probability of the class and all more probable ones, plus ``penalty`` for each rank beyond ``free``."""

    def score(probabilities: Array) -> Array:
        order = np.argsort(-probabilities, axis=1)
        summed = np.cumsum(np.take_along_axis(probabilities, order, axis=1), axis=1)
        summed += penalty * np.maximum(0, np.arange(1, probabilities.shape[1] + 1) - free)
        scores = np.empty_like(probabilities)
        np.put_along_axis(scores, order, summed, axis=1)
        return scores

    return score


SCORES = {"LAC": lac, "APS": raps(0.0, 0), "RAPS 0.01, 2": raps(0.01, 2), "RAPS 0.1, 1": raps(0.1, 1)}


def main() -> None:
    """Print one line for each score and kind of quantile."""
    outputs = bundle_outputs(Path(sys.argv[1]), Path(sys.argv[2]))
    part, codes = outputs.validation, outputs.bundle.manifest.taxonomy.trained_codes
    print(f"{COVERAGE:.0%} wanted; {len(part.labels)} validation images, halved {HALVINGS} times by lesion")
    print(f"{'':31s}{'all':>6s}{'worst':>7s}{'size':>6s}  {'  '.join(f'{code:>4s}' for code in codes)}")
    for name, score in SCORES.items():
        for kind in ("marginal", "class-conditional"):
            covered, size = _cross_fit(
                part.output.logits, part.labels, part.lesions, score, by_class=kind != "marginal"
            )
            cells = "  ".join(f"{value:.2f}" for value in covered[1:])
            print(f"{name:13s}{kind:18s}{covered[0]:6.3f}{covered[1:].min():7.2f}{size:6.2f}  {cells}")


def _cross_fit(
    logits: NDArray[np.floating],
    labels: NDArray[np.int64],
    lesions: NDArray[np.str_],
    score: Callable[[Array], Array],
    *,
    by_class: bool,
) -> tuple[Array, float]:
    """Coverage overall and of each class, and the mean size of the sets."""
    covered, sizes = [], []
    for seed in range(HALVINGS):
        for fitted, new in StratifiedGroupKFold(2, shuffle=True, random_state=seed).split(logits, labels, lesions):
            temperature = fit_temperature(logits[fitted], labels[fitted])
            scores = score(calibrated_probabilities(logits, temperature))
            own = scores[fitted, labels[fitted]]
            groups = [own[labels[fitted] == label] if by_class else own for label in range(logits.shape[1])]
            members = scores[new] <= np.array([_quantile(group) for group in groups])
            members[np.arange(len(new)), logits[new].argmax(axis=1)] = True
            is_hit = members[np.arange(len(new)), labels[new]]
            per_class = [is_hit[labels[new] == label].mean() for label in range(logits.shape[1])]
            covered.append([is_hit.mean(), *per_class])
            sizes.append(members.sum(axis=1).mean())
    return np.mean(covered, axis=0), float(np.mean(sizes))


def _quantile(scores: Array) -> float:
    rank = int(np.ceil((len(scores) + 1) * COVERAGE))
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else np.inf


if __name__ == "__main__":
    main()
