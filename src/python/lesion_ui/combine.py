"""Several images of one lesion: one answer. Not validated: nobody measured how often it is right."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

import attrs

from lesion_core.wire import ConformalSet, OutOfDistribution, Prediction, QualityFinding
from lesion_ui.texts import Texts
from lesion_ui.view import AnswerView, answer_view

BANDS = ("low", "intermediate", "high")


@attrs.frozen(kw_only=True)
class Combined:
    """One answer for several images.

    Attributes:
        prediction: the mean of the probabilities, the union of the sets, the worst band; of the images in the mean
            the strangest one's distance and every finding about a photograph. No order of the images changes it.
        used: positions of the images in the mean.
        left_out: positions of those that are unusable or unlike the training images.
        is_doubtful: no image was usable, so all were used.
        worst: position of the image with the worst band; ``None`` without bands.
    """

    prediction: Prediction
    used: tuple[int, ...]
    left_out: tuple[int, ...]
    is_doubtful: bool
    worst: int | None


def combine(predictions: Sequence[Prediction]) -> Combined | None:
    """Combine at least two answers of one version; ``None`` where versions differ, since their numbers do not mix."""
    if len({(one.model.bundle_digest, tuple(c.code for c in one.probabilities)) for one in predictions}) != 1:
        return None
    usable = tuple(n for n, one in enumerate(predictions) if _is_usable(one))
    used = usable or tuple(range(len(predictions)))
    chosen = [predictions[n] for n in used]
    classes = tuple(
        attrs.evolve(item, probability=min(1.0, fsum(one.probabilities[k].probability for one in chosen) / len(chosen)))
        for k, item in enumerate(chosen[0].probabilities)
    )
    members = {code for one in chosen for code in one.conformal_set.codes}
    codes = tuple(item.code for item in classes if item.code in members)
    ranked = [n for n, one in enumerate(predictions) if one.risk is not None]
    worst = max(ranked, key=lambda n: _rank(predictions[n]), default=None)
    coverage = min(one.conformal_set.coverage for one in chosen)
    combined = attrs.evolve(
        chosen[0],
        request_id=", ".join(one.request_id for one in predictions),
        probabilities=classes,
        out_of_distribution=max((one.out_of_distribution for one in chosen), key=_strangeness),
        conformal_set=ConformalSet(codes=codes, coverage=coverage),
        risk=None if worst is None else predictions[worst].risk,
        quality=_findings(chosen),
        timings_ms={},
        heat_map=None,
    )
    left_out = tuple(n for n in range(len(predictions)) if n not in used)
    return Combined(prediction=combined, used=used, left_out=left_out, is_doubtful=not usable, worst=worst)


def combined_view(combined: Combined, texts: Texts) -> AnswerView:
    """In words: as for one image, but for the set, whose coverage nobody measured."""
    view = answer_view(combined.prediction, texts)
    kicker = texts("combined.kicker", used=len(combined.used), all=len(combined.used) + len(combined.left_out))
    conformal = view.conformal
    names = {bar.code: bar.name for bar in view.bars}
    codes = combined.prediction.conformal_set.codes
    if codes and not combined.prediction.out_of_distribution.is_outside:
        conformal = texts("combined.set", names=texts.join([names[code] for code in codes]))
    return attrs.evolve(view, conformal=conformal, headline=attrs.evolve(view.headline, kicker=kicker))


def _is_usable(prediction: Prediction) -> bool:
    return not prediction.out_of_distribution.is_outside and prediction.quality_grade != "reject"


def _strangeness(outside: OutOfDistribution) -> tuple[bool, float]:
    return outside.is_outside, outside.score - outside.threshold


def _findings(predictions: Sequence[Prediction]) -> tuple[QualityFinding, ...]:
    """Each finding once, as the image has it that breaks the limit most; those that reject come first."""
    worst: dict[str, QualityFinding] = {}
    for finding in (one for prediction in predictions for one in prediction.quality):
        worst[finding.code] = max(worst.get(finding.code, finding), finding, key=_severity)
    return tuple(sorted(worst.values(), key=lambda one: (one.grade != "reject", one.code)))


def _severity(finding: QualityFinding) -> tuple[bool, float, float, float]:
    excess = abs(finding.value - finding.threshold)
    return finding.grade == "reject", excess, finding.value, finding.threshold


def _rank(prediction: Prediction) -> tuple[int, float]:
    assert prediction.risk is not None
    return BANDS.index(prediction.risk.band), prediction.risk.probability
