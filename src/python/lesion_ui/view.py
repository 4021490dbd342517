"""What is to be shown: pure functions from a ``Prediction`` to the words and numbers of the page."""

# The wording is a part of the product: it states what the numbers mean and what they do not.

from __future__ import annotations

from collections.abc import Sequence

import attrs

from lesion_core.errors import ImageError, LesionError
from lesion_core.taxonomy import Malignancy
from lesion_core.wire import ClassProbability, ConformalSet, MalignancyRisk, Prediction, QualityFinding
from lesion_ui.wording import SPACE, join_names, percent, percent_pair

NOTICE = "Research use only. Not a medical device; not a diagnosis."
SYMBOLS = {Malignancy.MALIGNANT: "▲", Malignancy.INDETERMINATE: "◆", Malignancy.BENIGN: "●"}
NONE_SYMBOL = "○"
LEGEND = " · ".join(
    text.replace(" ", SPACE)
    for text in ("▲ malignant", "◆ indeterminate (precursor)", "● benign", "○ none of the above")
)


@attrs.frozen(kw_only=True)
class Bar:
    """One class as shown. ``probability`` in [0, 1]; ``text`` is how it reads; ``label`` bears ``symbol``."""

    code: str
    name: str
    symbol: str
    grouping: str
    probability: float
    text: str
    malignancy: Malignancy
    is_none_of_the_above: bool

    @property
    def label(self) -> str:
        """Name with the symbol of its group, so that colour is never the only sign."""
        return f"{self.symbol} {self.name}"


@attrs.frozen(kw_only=True)
class Headline:
    """The first thing to read: ``kicker`` over ``name``, then ``probability_text`` and one ``plain`` sentence.

    ``codes`` is what to write into a record for this diagnosis; empty where there is nothing.
    """

    kicker: str
    name: str
    probability_text: str
    plain: str
    codes: str
    is_none_of_the_above: bool


@attrs.frozen(kw_only=True)
class RiskText:
    """The triage band in words. ``band`` is ``"low"``, ``"intermediate"``, ``"high"`` or ``"none"``."""

    title: str
    sentence: str
    band: str


@attrs.frozen(kw_only=True)
class QualityNote:
    """One finding about the photograph: what to do, the number behind it, and whether it makes the answer worthless."""

    sentence: str
    numbers: str
    is_reject: bool


@attrs.frozen(kw_only=True)
class AnswerView:
    """Everything that the page shows for one prediction. Alerts come before all else, where not ``None``."""

    quality_alert: str | None
    alert: str | None
    headline: Headline
    risk: RiskText
    bars: tuple[Bar, ...]
    chart_text: str
    conformal: str
    distance: str
    quality: tuple[QualityNote, ...]
    model: str
    notice: str


@attrs.frozen(kw_only=True)
class ProblemView:
    """An error as shown: what happened in ``title``, why and what to do next in ``message``."""

    title: str
    message: str
    can_retry: bool


def answer_view(prediction: Prediction) -> AnswerView:
    """Put a prediction into words."""
    none = prediction.probabilities[-1]  # the wire's order: none of the above is last
    is_outside = prediction.out_of_distribution.is_outside
    is_none = is_outside or prediction.top is none
    bars = _bars(prediction, none_first=is_none)
    return AnswerView(
        quality_alert=_QUALITY_ALERT if prediction.quality_grade == "reject" else None,
        alert=_alert(is_outside) if is_none else None,
        headline=_headline(none if is_none else prediction.top, len(bars), is_none=is_none),
        risk=_risk(prediction.risk, prediction.probabilities, is_outside=is_outside),
        bars=bars,
        chart_text="Probabilities: " + ", ".join(f"{bar.name} {bar.text}" for bar in bars) + ".",
        conformal=_conformal(prediction.conformal_set, prediction.probabilities[:-1], is_outside=is_outside),
        distance=_distance(prediction),
        quality=tuple(_quality_note(finding) for finding in prediction.quality),
        model=_model(prediction),
        notice=prediction.notice,
    )


def _bars(prediction: Prediction, *, none_first: bool) -> tuple[Bar, ...]:
    """Most probable first, ties in the taxonomy's order; none of the above before all where it applies."""
    none = prediction.probabilities[-1]
    ordered = sorted(prediction.probabilities, key=lambda item: (not (none_first and item is none), -item.probability))
    return tuple(
        Bar(
            code=item.code,
            name=item.name,
            symbol=NONE_SYMBOL if item is none else SYMBOLS[item.malignancy],
            grouping="–" if item is none else item.malignancy.value,
            probability=item.probability,
            text=percent(item.probability),
            malignancy=item.malignancy,
            is_none_of_the_above=item is none,
        )
        for item in ordered
    )


_QUALITY_ALERT = (
    "Do not rely on this answer: the photograph is not good enough for one. The reasons are given with the image."
)


def _quality_note(finding: QualityFinding) -> QualityNote:
    return QualityNote(
        sentence=finding.message,
        numbers=f"Measured {finding.value:.3g}, limit {finding.threshold:.3g}: {finding.origin}.",
        is_reject=finding.grade == "reject",
    )


def _alert(is_outside: bool) -> str:
    if is_outside:
        return (
            "This image is unlike the images that the model learned from. Do not rely on the probabilities below. "
            "Check that it shows one lesion, in focus and filling much of the frame."
        )
    return "None of the trained diagnoses fits this image well. Read the probabilities below with care."


def _headline(item: ClassProbability, classes: int, *, is_none: bool) -> Headline:
    if is_none:
        return Headline(
            kicker="No trained diagnosis applies",
            name=item.name,
            probability_text=f"{percent(item.probability)} – how unlike the training images it is",
            plain=item.plain,
            codes="",
            is_none_of_the_above=True,
        )
    group = f"{SYMBOLS[item.malignancy]} {item.malignancy.value}"
    return Headline(
        kicker=f"Most probable of {classes} classes",
        name=item.name,
        probability_text=f"{percent(item.probability)} probability · {group}",
        plain=item.plain,
        codes=" · ".join(f"{code.system} {code.code} {code.display}".replace(" ", SPACE, 1) for code in item.codes),
        is_none_of_the_above=False,
    )


def _risk(risk: MalignancyRisk | None, probabilities: Sequence[ClassProbability], *, is_outside: bool) -> RiskText:
    if risk is None:
        return RiskText(
            title="No malignancy risk",
            sentence="None of this model's diagnoses is malignant, or it was measured on no image of one.",
            band="none",
        )
    names = [item.name for item in probabilities if item.malignancy is Malignancy.MALIGNANT]
    sensitivity = percent(risk.sensitivity)
    if risk.band == "low":
        probability, upper = percent_pair(risk.probability, risk.upper)
        where = f"Below the threshold of {upper}, which was set for {sensitivity} sensitivity on the validation part."
    else:
        probability, lower = percent_pair(risk.probability, risk.lower)
        where = f"At or above the threshold of {lower}"
        if risk.band == "intermediate":
            where += f", which was set for {sensitivity} sensitivity on the validation part"
        where += "."
    sentences = [f"Summed over {join_names(names)}." if names else "", where, _observed(risk)]
    if risk.band == "low":
        sentences.append("A low band rules nothing out.")
    if is_outside:
        sentences.append("For an image unlike the training images the band is not reliable.")
    return RiskText(
        title=f"Malignancy risk {probability} – {risk.band} band",
        sentence=" ".join(sentence for sentence in sentences if sentence),
        band=risk.band,
    )


def _observed(risk: MalignancyRisk) -> str:
    """What was found in the band, and at which prevalence: without that a share means nothing."""
    if not risk.images:
        return "No validation image fell into this band."
    were = "was" if risk.malignant == 1 else "were"
    return (
        f"Of the {risk.images} validation images in this band, {risk.malignant} {were} malignant "
        f"({percent(risk.malignant / risk.images)}; {percent(risk.prevalence)} of all). "
        "Where malignant lesions are rarer, they are rarer in each band."
    )


def _conformal(conformal: ConformalSet, trained: Sequence[ClassProbability], *, is_outside: bool) -> str:
    coverage = percent(conformal.coverage)
    if is_outside:
        return "any diagnosis. A set is given only for images like those that the model was measured on."
    names = {item.code: item.name for item in trained}
    members = [names.get(code, code) for code in conformal.codes]
    if not members:
        return f"none of the trained diagnoses fits at {coverage} coverage."
    if set(names) <= set(conformal.codes):
        return f"all {len(members)} trained diagnoses. The image does not narrow them down at {coverage} coverage."
    return (
        f"{join_names(members)}. For images like those of the validation part, whatever their diagnosis, such a set "
        f"holds the true one {coverage} of the time."
    )


def _distance(prediction: Prediction) -> str:
    score, limit = prediction.out_of_distribution.score, prediction.out_of_distribution.threshold
    verdict = "unlike" if prediction.out_of_distribution.is_outside else "like"
    detector = prediction.out_of_distribution.detector.replace("_", " ")
    return f"Strangeness {score:.2f} ({detector}), limit {limit:.2f}: {verdict} the training images."


def _model(prediction: Prediction) -> str:
    model = prediction.model
    return (
        f"Model {model.name}, version {model.version} · backbone {model.backbone} · "
        f"bundle {model.bundle_digest[:12]} · request {prediction.request_id}"
    )


_TITLES = {
    "unreachable": "The prediction service cannot be reached",
    "timed_out": "The prediction service did not answer in time",
    "busy": "The prediction service is busy",
    "refused": "The app is not allowed to use the prediction service",
    "rejected": "This image was not accepted",
    "no_endpoint": "The app is not connected to a prediction service",
    "bad_endpoint": "The app is not connected to a prediction service",
    "no_model": "The app is not connected to a model",
    "not_understood": "The answer could not be read",
    "failed": "The prediction service failed",
}
_FINAL = frozenset({"rejected", "bad_endpoint"})  # trying the same again cannot help


def problem_view(error: LesionError) -> ProblemView:
    """Put an error into words; no number is shown with it."""
    if isinstance(error, ImageError):
        return ProblemView(title="This image cannot be read", message=error.message, can_retry=False)
    return ProblemView(
        title=_TITLES.get(error.code, "There is no answer"),
        message=error.message,
        can_retry=error.code not in _FINAL,
    )


UNEXPECTED = ProblemView(
    title="Something went wrong in the app",
    message="There is no answer for this image. Try again; if it stays so, ask whoever runs Lesion here: "
    "the reason is in the log of the app.",
    can_retry=True,
)
