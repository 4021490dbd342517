"""What is to be shown: pure functions from a ``Prediction`` to the words and numbers of the page."""

# The wording is a part of the product: it states what the numbers mean and what they do not.

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from lesion_core.errors import ImageError, LesionError
from lesion_core.interval import proportion_interval
from lesion_core.taxonomy import Malignancy
from lesion_core.wire import ClassProbability, ConformalSet, MalignancyRisk, Prediction, QualityFinding
from lesion_ui.texts import ORIGINAL, Texts, texts_for
from lesion_ui.wording import SPACE

SYMBOLS = {Malignancy.MALIGNANT: "▲", Malignancy.INDETERMINATE: "◆", Malignancy.BENIGN: "●"}
NONE_SYMBOL = "○"
FEWEST_IMAGES = 10  # behind a predictive value: of fewer, hardly anything is known
ENGLISH = texts_for(ORIGINAL)


@attrs.frozen(kw_only=True)
class Question:
    """What is asked along with every image of a lesion."""

    metadata: Mapping[str, object] = attrs.field(factory=dict)
    heat_map: bool = True
    subject: str | None = None


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
    digest: str
    notice: str


@attrs.frozen(kw_only=True)
class ProblemView:
    """An error as shown: what happened in ``title``, what to do in ``advice``, its own words in ``message``."""

    title: str
    advice: str
    message: str
    can_retry: bool


def answer_view(prediction: Prediction, texts: Texts = ENGLISH) -> AnswerView:
    """Put a prediction into words."""
    none = prediction.probabilities[-1]  # the wire's order: none of the above is last
    is_outside = prediction.out_of_distribution.is_outside
    is_none = is_outside or prediction.top is none
    bars = _bars(prediction, texts, none_first=is_none)
    numbers = ", ".join(f"{bar.name} {bar.text}" for bar in bars)
    return AnswerView(
        quality_alert=texts("answer.quality_alert") if prediction.quality_grade == "reject" else None,
        alert=texts("answer.outside" if is_outside else "answer.none_fits") if is_none else None,
        headline=_headline(none if is_none else prediction.top, len(bars), texts, is_none=is_none),
        risk=_risk(prediction.risk, prediction.probabilities, texts, is_outside=is_outside),
        bars=bars,
        chart_text=texts("answer.chart_text", numbers=numbers),
        conformal=_conformal(prediction.conformal_set, prediction.probabilities[:-1], texts, is_outside=is_outside),
        distance=_distance(prediction, texts),
        quality=tuple(_quality_note(finding, texts) for finding in prediction.quality),
        model=texts(
            "answer.model",
            name=prediction.model.name,
            version=prediction.model.version,
            backbone=prediction.model.backbone,
            digest=prediction.model.bundle_digest[:12],
            request_id=prediction.request_id,
        ),
        digest=prediction.model.bundle_digest,
        notice=prediction.notice,
    )


def asked_text(question: Question, texts: Texts) -> str:
    """What was known of the patient when it was asked, so that an answer for another one is noticed."""
    age, sex, site = (question.metadata.get(name) for name in ("age_approx", "sex", "anatom_site_general"))
    known = [
        *([] if age is None else [texts("asked.age", age=age)]),
        *([] if sex is None else [texts(f"assess.{sex}")]),
        *([] if site is None else [texts.site(str(site))]),
    ]
    sentences = [texts("asked.with", known=", ".join(known)) if known else texts("asked.without")]
    if question.subject is not None:
        sentences.append(texts("asked.subject", subject=question.subject))
    return " ".join(sentences)


def legend(texts: Texts) -> str:
    """What the symbols stand for."""
    words = [f"{symbol} {texts(f'legend.{group.value}')}" for group, symbol in SYMBOLS.items()]
    return " · ".join(one.replace(" ", SPACE) for one in [*words, f"{NONE_SYMBOL} {texts('legend.none')}"])


def _bars(prediction: Prediction, texts: Texts, *, none_first: bool) -> tuple[Bar, ...]:
    """Most probable first, ties in the taxonomy's order; none of the above before all where it applies."""
    none = prediction.probabilities[-1]
    ordered = sorted(prediction.probabilities, key=lambda item: (not (none_first and item is none), -item.probability))
    return tuple(
        Bar(
            code=item.code,
            name=texts.diagnosis(item.code, item.name),
            symbol=NONE_SYMBOL if item is none else SYMBOLS[item.malignancy],
            grouping="–" if item is none else texts.malignancy(item.malignancy),
            probability=item.probability,
            text=texts.percent(item.probability),
            malignancy=item.malignancy,
            is_none_of_the_above=item is none,
        )
        for item in ordered
    )


def _quality_note(finding: QualityFinding, texts: Texts) -> QualityNote:
    ours = texts.find(f"quality.{finding.code}") if texts.language != ORIGINAL else None
    return QualityNote(
        sentence=ours or finding.message,
        numbers=texts(
            "answer.measured",
            value=f"{finding.value:.3g}",
            threshold=f"{finding.threshold:.3g}",
            origin=finding.origin,
        ),
        is_reject=finding.grade == "reject",
    )


def _headline(item: ClassProbability, classes: int, texts: Texts, *, is_none: bool) -> Headline:
    name, plain = texts.diagnosis(item.code, item.name), texts.plain(item.code, item.plain)
    probability = texts.percent(item.probability)
    if is_none:
        return Headline(
            kicker=texts("answer.kicker_none"),
            name=name,
            probability_text=texts("answer.probability_none", probability=probability),
            plain=plain,
            codes="",
            is_none_of_the_above=True,
        )
    group = f"{SYMBOLS[item.malignancy]} {texts.malignancy(item.malignancy)}"
    return Headline(
        kicker=texts("answer.kicker", classes=classes),
        name=name,
        probability_text=texts("answer.probability", probability=probability, group=group),
        plain=plain,
        codes=" · ".join(f"{code.system} {code.code} {code.display}".replace(" ", SPACE, 1) for code in item.codes),
        is_none_of_the_above=False,
    )


def _risk(
    risk: MalignancyRisk | None, probabilities: Sequence[ClassProbability], texts: Texts, *, is_outside: bool
) -> RiskText:
    if risk is None:
        return RiskText(title=texts("risk.none_title"), sentence=texts("risk.none"), band="none")
    names = [texts.diagnosis(one.code, one.name) for one in probabilities if one.malignancy is Malignancy.MALIGNANT]
    limit = risk.upper if risk.band == "low" else risk.lower
    probability, limit_text = texts.percent_pair(risk.probability, limit)
    where = texts(f"risk.where_{risk.band}", limit=limit_text, sensitivity=texts.percent(risk.sensitivity))
    sentences = [texts("risk.summed", names=texts.join(names)) if names else "", where, _observed(risk, texts)]
    if risk.band == "low":
        sentences.append(texts("risk.low_rules_nothing_out"))
    if is_outside:
        sentences.append(texts("risk.outside"))
    return RiskText(
        title=texts("risk.title", probability=probability, band=texts(f"band.{risk.band}")),
        sentence=" ".join(sentence for sentence in sentences if sentence),
        band=risk.band,
    )


def _observed(risk: MalignancyRisk, texts: Texts) -> str:
    """What was found in the band, and at which prevalence: without that a share means nothing."""
    if not risk.images:
        return texts("risk.observed_nothing")
    if risk.images < FEWEST_IMAGES:
        return texts("risk.observed_few", images=risk.images, fewest=FEWEST_IMAGES)
    # The share malignant is the PPV of a band that calls for action, the rest the NPV of one that does not.
    hits, key = (risk.images - risk.malignant, "risk.npv") if risk.band == "low" else (risk.malignant, "risk.ppv")
    value = proportion_interval(hits, risk.images)
    return " ".join(
        (
            texts(
                "risk.observed_one" if risk.malignant == 1 else "risk.observed",
                images=risk.images,
                malignant=risk.malignant,
                share=texts.percent(risk.malignant / risk.images),
                prevalence=texts.percent(risk.prevalence),
            ),
            texts(key, value=texts.interval(value, as_percent=True)),
        )
    )


def _conformal(conformal: ConformalSet, trained: Sequence[ClassProbability], texts: Texts, *, is_outside: bool) -> str:
    coverage = texts.percent(conformal.coverage)
    if is_outside:
        return texts("set.outside")
    names = {item.code: texts.diagnosis(item.code, item.name) for item in trained}
    members = [names.get(code, code) for code in conformal.codes]
    if not members:
        return texts("set.empty", coverage=coverage)
    if set(names) <= set(conformal.codes):
        return texts("set.all", count=len(members), coverage=coverage)
    return texts("set.some", names=texts.join(members), coverage=coverage)


def _distance(prediction: Prediction, texts: Texts) -> str:
    outside = prediction.out_of_distribution
    return texts(
        "answer.distance_outside" if outside.is_outside else "answer.distance_inside",
        score=texts.number(outside.score, 2),
        detector=outside.detector.replace("_", " "),
        limit=texts.number(outside.threshold, 2),
    )


_FINAL = frozenset({"rejected", "bad_endpoint", "forbidden", "not_found"})  # the same again cannot help


def problem_view(error: LesionError, texts: Texts = ENGLISH) -> ProblemView:
    """Put an error into words; no number is shown with it."""
    code = "image" if isinstance(error, ImageError) else error.code
    if texts.find(f"problem.{code}") is None:
        code = "other"
    return ProblemView(
        title=texts(f"problem.{code}"),
        advice=texts.find(f"advice.{code}") or "",
        message=error.message,
        can_retry=code != "image" and error.code not in _FINAL,
    )


def unexpected(texts: Texts) -> ProblemView:
    """A mistake of ours: the reason is in the log, not on the page."""
    return ProblemView(title=texts("problem.unexpected"), advice=texts("advice.unexpected"), message="", can_retry=True)
