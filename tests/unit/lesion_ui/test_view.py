"""The words and numbers of the page."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesion_core.errors import ImageError, LesionError
from lesion_core.taxonomy import ISIC_2019
from lesion_core.wire import ConformalSet, OutOfDistribution
from lesion_ui.refusals import ServiceError
from lesion_ui.view import NONE_SYMBOL, answer_view, problem_view
from support.fake_service import make_finding, make_prediction, make_risk, outside_prediction

UNIT = st.floats(0, 1)
WEIGHTS = st.lists(st.floats(0.001, 1), min_size=8, max_size=8).map(
    lambda values: dict(zip(ISIC_2019.trained_codes, values, strict=True))
)


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


@given(WEIGHTS, UNIT, st.booleans())
def test_bars_are_all_classes_in_falling_order(weights: dict[str, float], none: float, is_outside: bool) -> None:
    """None of the above comes first where it applies, and in its place otherwise."""
    outside = OutOfDistribution(detector="knn", score=1.0, threshold=2.0, is_outside=is_outside)
    prediction = make_prediction(weights, none=none, out_of_distribution=outside)

    view = answer_view(prediction)

    assert sorted(bar.code for bar in view.bars) == sorted(ISIC_2019.codes)
    assert view.bars[0].is_none_of_the_above == view.headline.is_none_of_the_above
    rest = [bar.probability for bar in (view.bars[1:] if view.bars[0].is_none_of_the_above else view.bars)]
    assert rest == sorted(rest, reverse=True)
    assert (view.alert is not None) == view.headline.is_none_of_the_above
    assert view.headline.is_none_of_the_above or not is_outside


def test_equal_probabilities_keep_the_order_of_the_taxonomy() -> None:
    """So that the same answer always looks the same."""
    view = answer_view(make_prediction(dict.fromkeys(ISIC_2019.trained_codes, 1.0), none=0.0))

    assert tuple(bar.code for bar in view.bars) == ISIC_2019.codes


def test_the_headline_is_the_top_diagnosis_in_plain_words() -> None:
    """Name, probability, group and a sentence."""
    headline = answer_view(make_prediction()).headline

    assert headline.name == "Melanoma"
    assert plain(headline.probability_text) == "62 % probability · ▲ malignant"
    assert headline.plain == ISIC_2019.resolve("MEL").plain


def test_an_image_unlike_the_training_images_is_called_so_first() -> None:
    """Headline, first bar, alert; the band and the set are not stated as if they held."""
    view = answer_view(outside_prediction())

    assert view.headline.name == "None of the above"
    assert view.bars[0].symbol == NONE_SYMBOL
    assert view.alert is not None
    assert "unlike the images" in view.alert
    assert "not reliable" in view.risk.sentence
    assert "Melanoma" not in view.conformal
    assert len(view.quality) == 2


@pytest.mark.parametrize(("grades", "is_alert"), [((), False), (("warn",), False), (("warn", "reject"), True)])
def test_only_a_rejected_photograph_puts_the_whole_answer_in_doubt(grades: tuple[str, ...], is_alert: bool) -> None:
    """The probabilities are shown all the same."""
    view = answer_view(make_prediction(quality=tuple(make_finding(grade=grade) for grade in grades)))

    assert (view.quality_alert is not None) == is_alert
    assert tuple(note.is_reject for note in view.quality) == tuple(grade == "reject" for grade in grades)
    assert view.bars == answer_view(make_prediction()).bars


def test_a_finding_shows_its_number_its_limit_and_where_that_comes_from() -> None:
    """Rounded to what can be read."""
    (note,) = answer_view(make_prediction(quality=(make_finding(value=0.41237, threshold=0.57),))).quality

    assert note.sentence == "The image is dark."
    assert note.numbers == "Measured 0.412, limit 0.57: 0.5 % of real images are below."


@pytest.mark.parametrize(
    ("probability", "title", "where", "observed"),
    [
        (0.68, "Malignancy risk 68 % – high band", "At or above the threshold of 41 %.", "306 validation images"),
        (
            0.2,
            "Malignancy risk 20 % – intermediate band",
            "At or above the threshold of 12 %, which was set for 95 % sensitivity on the validation part.",
            "210 validation images",
        ),
        (
            0.05,
            "Malignancy risk 5 % – low band",
            "Below the threshold of 12 %, which was set for 95 % sensitivity on the validation part.",
            "330 validation images",
        ),
    ],
)
def test_a_band_is_stated_with_its_threshold_and_what_was_found_in_it(
    probability: float, title: str, where: str, observed: str
) -> None:
    """Which threshold, set for what, on what; and how many there were malignant."""
    risk = answer_view(make_prediction(risk=make_risk(probability))).risk

    assert plain(risk.title) == title
    assert where in plain(risk.sentence)
    assert observed in plain(risk.sentence)
    assert "Melanoma, Basal cell carcinoma and Squamous cell carcinoma" in risk.sentence
    assert risk.band in title


def test_a_low_band_does_not_reassure() -> None:
    """It says how many malignant lesions were in it."""
    risk = answer_view(make_prediction({"NV": 1.0})).risk

    assert risk.band == "low"
    assert "15 were malignant (5 %; 37 % of all)" in plain(risk.sentence)
    assert "rules nothing out" in risk.sentence


@pytest.mark.parametrize(
    ("probability", "said"),
    [
        (0.68, "positive predictive value there: 76 % (95 % CI 71–80 %), over images, of which several"),
        (0.05, "negative predictive value there: 95 % (95 % CI 93–97 %), over images, of which several"),
    ],
)
def test_a_predictive_value_has_its_interval(probability: float, said: str) -> None:
    """232 of 306 images, and 315 of 330: Wilson's."""

    assert said in plain(answer_view(make_prediction(risk=make_risk(probability))).risk.sentence)


@pytest.mark.parametrize(("images", "is_given"), [(9, False), (10, True)])
def test_a_predictive_value_of_hardly_any_images_is_not_given(images: int, is_given: bool) -> None:
    """Nor the share malignant, which is the same number."""
    risk = attrs.evolve(make_risk(0.68), images=images, malignant=5)
    sentence = plain(answer_view(make_prediction(risk=risk)).risk.sentence)

    assert ("predictive value there" in sentence) == is_given
    assert ("were malignant" in sentence) == is_given
    assert ("No more than 9 validation images" in sentence) != is_given


def test_a_risk_just_under_the_threshold_reads_lower_than_it() -> None:
    """With as many digits as it takes."""
    risk = answer_view(make_prediction(risk=make_risk(0.1236))).risk

    assert plain(risk.title) == "Malignancy risk 12.36 % – low band"
    assert "Below the threshold of 12.40 %" in plain(risk.sentence)


def test_a_model_without_malignant_diagnoses_says_that_it_gives_no_risk() -> None:
    """Instead of a risk of zero."""
    risk = answer_view(make_prediction(risk=None)).risk

    assert (risk.title, risk.band) == ("No malignancy risk", "none")
    assert "None of this model's diagnoses is malignant" in risk.sentence


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (("MEL",), "Melanoma. For"),
        (("MEL", "NV"), "Melanoma and Melanocytic nevus. For"),
        (("MEL", "NV", "BKL"), "Melanoma, Melanocytic nevus and Benign keratosis. For"),
        (ISIC_2019.trained_codes, "all 8 trained diagnoses"),
        (("NEW",), "NEW. For"),
        ((), "none of the trained diagnoses fits at 90 % coverage"),
    ],
)
def test_the_set_of_diagnoses_is_a_sentence(codes: tuple[str, ...], expected: str) -> None:
    """With its coverage, whatever its size."""
    view = answer_view(make_prediction(conformal_set=ConformalSet(codes=codes, coverage=0.9)))

    assert plain(view.conformal).startswith(expected)
    assert "90 %" in plain(view.conformal)


def test_the_headline_has_the_codes_of_its_class() -> None:
    """With the words of each system; none of the above has none."""
    codes = plain(answer_view(make_prediction()).headline.codes)

    assert codes == (
        "ICD-10 C43.9 Malignant melanoma of skin, unspecified · ICD-O-3 8720/3 Malignant melanoma, NOS · "
        "SNOMED CT 93655004 Malignant melanoma of skin"
    )
    assert answer_view(outside_prediction()).headline.codes == ""


def test_the_model_line_names_what_answered() -> None:
    """Name, version, backbone and the first 12 of the digest."""
    line = answer_view(make_prediction()).model

    assert line == (
        "Model skin-lesion, version 3 · backbone efficientnet_lite0 · bundle 0123456789ab · request req-0001"
    )


def test_the_text_alternative_of_the_chart_has_every_number() -> None:
    """For those who cannot see it."""
    view = answer_view(make_prediction())

    assert all(f"{bar.name} {bar.text}" in view.chart_text for bar in view.bars)


def test_the_words_of_a_custom_taxonomy_are_used() -> None:
    """Names come with the prediction, not from this program."""
    prediction = make_prediction()
    renamed = tuple(
        attrs.evolve(item, name=f"Class {n}", code=f"C{n}") for n, item in enumerate(prediction.probabilities)
    )
    view = answer_view(attrs.evolve(prediction, probabilities=renamed))

    assert view.headline.name == "Class 0"
    assert [bar.is_none_of_the_above for bar in view.bars if bar.name == "Class 8"] == [True]


@pytest.mark.parametrize(
    ("error", "title", "can_retry"),
    [
        (ImageError("Broken.", code="corrupt_image"), "This image cannot be read", False),
        (ServiceError("No.", code="rejected"), "This was not accepted", False),
        (ServiceError("Later.", code="busy"), "The prediction service is busy", True),
        (LesionError("None.", code="no_endpoint"), "The app is not connected to a prediction service", True),
        (LesionError("New.", code="invented_later"), "There is no answer", True),
    ],
)
def test_an_error_has_a_title_and_keeps_its_sentence(error: LesionError, title: str, can_retry: bool) -> None:
    """And says whether trying again can help."""
    view = problem_view(error)

    assert (view.title, view.message, view.can_retry) == (title, error.message, can_retry)
