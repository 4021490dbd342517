"""Does a window of images still look like those that the model was made with?

Every comparison is one ``lesion_core.monitoring.Check``. Together they alarm at nothing in one report of a hundred at
most, whatever the number of images: see ``permutation``. An alarm says that something is different, not that answers
are wrong; and no alarm says that nothing was found on so many images.
"""

# N images of a sample · K trained classes

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from lesion_core.drift_reference import DriftSample
from lesion_core.monitoring import Check
from lesion_serve.monitor.permutation import (
    Values,
    Verdict,
    classifier_auc,
    draw_members,
    excess,
    judge,
    kolmogorov_smirnov,
    mean_discrepancy,
    population_stability,
)

LEVEL = 0.01
DRAWS = 2000
FEWEST_IMAGES = 30
MOST_IMAGES = 1000  # beyond, power is ample and time grows with the square

_QUALITY_WORDS = {
    "shorter_side_px": "shorter side in pixels",
    "dark_surround": "share of black surround",
    "bright_level": "brightness of the brightest parts",
    "median_level": "brightness",
    "clipped": "share that is pure white or black",
    "structure": "structure",
    "non_skin": "share that is bluer or greener than skin",
    "focus": "sharpness",
    "hair": "share under dark hairs",
    "ruler": "regular marks as of a ruler",
}


@attrs.frozen(kw_only=True)
class _Comparison:
    """One statistic, and what to say of it; ``say`` is told the verdict."""

    name: str
    statistic: str
    values: Values
    say: Callable[[Verdict], str]


def compare(
    reference: DriftSample,
    window: DriftSample,
    *,
    codes: Sequence[str],
    outside_threshold: float,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[Check, ...]:
    """Compare a window with a reference.

    Args:
        reference: independent images: one for each lesion.
        window: the same, one for each patient where patients are known; at most ``MOST_IMAGES`` of either are looked
            at, drawn at random.
        codes: the K + 1 classes, in the order of the probabilities.
        outside_threshold: strangeness from which on an image is unlike the training images.
        level: rate of reports with a false alarm.
        draws: of the permutation tests, at least 10 / ``level``.
        seed: of the draws.
    """
    if len(window) < FEWEST_IMAGES or len(reference) < FEWEST_IMAGES:
        return _too_few(reference, window)
    reference, window = _at_most(reference, MOST_IMAGES, seed), _at_most(window, MOST_IMAGES, seed + 1)
    order, members = draw_members(len(reference), len(window), draws=draws, seed=seed)

    def together(one: NDArray[np.floating], two: NDArray[np.floating]) -> NDArray[np.floating]:
        return np.concatenate([one, two])[order]

    embeddings = together(reference.embeddings, window.embeddings)
    probabilities = together(reference.probabilities, window.probabilities)
    strange = together(reference.strangeness, window.strangeness)
    comparisons = [
        _Comparison(
            name="class_mix",
            statistic="psi",
            values=population_stability(probabilities.argmax(axis=1), members),
            say=lambda verdict: _say_classes(reference, window, codes),
        ),
        _distribution(
            "confidence", "confidence", reference.probabilities.max(1), window.probabilities.max(1), order, members
        ),
        _distribution("strangeness", "strangeness", reference.strangeness, window.strangeness, order, members),
        _Comparison(
            name="outside_rate",
            statistic="difference",
            values=excess(strange > outside_threshold, members),
            say=lambda verdict: (
                f"{(window.strangeness > outside_threshold).mean():.1%} of the images are unlike the training images, "
                f"where {(reference.strangeness > outside_threshold).mean():.1%} are expected."
            ),
        ),
        _Comparison(
            name="embedding",
            statistic="auc",
            values=classifier_auc(embeddings, members),
            say=lambda verdict: (
                f"A classifier tells the window's images from the reference's with an AUC of {verdict.value:.2f}; "
                "0.5 is chance."
            ),
        ),
        _Comparison(
            name="embedding",
            statistic="mmd",
            values=mean_discrepancy(embeddings, members),
            say=lambda verdict: (
                f"What the network sees lies {verdict.value:.3f} apart from the reference, from 0 for the same."
            ),
        ),
        *(
            _distribution(
                f"quality.{name}", _QUALITY_WORDS.get(name, name), values, window.quality[name], order, members
            )
            for name, values in reference.quality.items()
            if name in window.quality
        ),
    ]
    verdicts = judge({f"{one.name} {one.statistic}": one.values for one in comparisons}, level=level)
    return tuple(_check(one, verdicts[f"{one.name} {one.statistic}"], len(window)) for one in comparisons)


def _distribution(
    name: str,
    words: str,
    reference: NDArray[np.floating],
    window: NDArray[np.floating],
    order: NDArray[np.int64],
    members: NDArray[np.float32],
) -> _Comparison:
    def say(verdict: Verdict) -> str:
        medians = [f"{np.nanmedian(one):.3g}" if np.isfinite(one).any() else "unknown" for one in (window, reference)]
        return f"Median of {words}: {medians[0]} in the window, {medians[1]} in the reference."

    values = kolmogorov_smirnov(np.concatenate([reference, window])[order], members)
    return _Comparison(name=name, statistic="ks", values=values, say=say)


def _say_classes(reference: DriftSample, window: DriftSample, codes: Sequence[str]) -> str:
    shares = [
        np.bincount(one.probabilities.argmax(axis=1), minlength=len(codes)) / len(one) for one in (window, reference)
    ]
    most = int(np.abs(shares[0] - shares[1]).argmax())
    return (
        f"The largest change of the answers is {codes[most]}: {shares[0][most]:.0%} in the window, "
        f"{shares[1][most]:.0%} in the reference."
    )


def _check(comparison: _Comparison, verdict: Verdict, images: int) -> Check:
    return Check(
        name=comparison.name,
        statistic=comparison.statistic,
        value=verdict.value,
        threshold=verdict.threshold,
        p_value=verdict.p_value,
        images=images,
        is_alarm=verdict.is_alarm,
        sentence=comparison.say(verdict),
    )


def _too_few(reference: DriftSample, window: DriftSample) -> tuple[Check, ...]:
    names = [("class_mix", "psi"), ("confidence", "ks"), ("strangeness", "ks"), ("outside_rate", "difference")]
    names += [("embedding", "auc"), ("embedding", "mmd")]
    names += [(f"quality.{name}", "ks") for name in reference.quality]
    sentence = (
        f"Too few images to say: {len(window)} in the window and {len(reference)} in the reference, of at least "
        f"{FEWEST_IMAGES}."
    )
    return tuple(
        Check(
            name=name,
            statistic=statistic,
            value=None,
            threshold=None,
            p_value=None,
            images=len(window),
            is_alarm=False,
            sentence=sentence,
        )
        for name, statistic in names
    )


def _at_most(sample: DriftSample, images: int, seed: int) -> DriftSample:
    if len(sample) <= images:
        return sample
    return sample.take(np.sort(np.random.default_rng(seed).permutation(len(sample))[:images]))
