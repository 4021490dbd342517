"""Several images of one lesion."""

from __future__ import annotations

import attrs
import pytest

from lesion_core.wire import ConformalSet, ModelIdentity
from lesion_ui.combine import combine, combined_view
from lesion_ui.texts import texts_for
from support.fake_service import make_finding, make_prediction, make_risk, outside_prediction


def test_the_answer_is_the_mean_the_union_and_the_worst_band() -> None:
    """Over two images that are both of use."""
    first = make_prediction({"MEL": 1.0}, none=0.0, conformal_set=ConformalSet(codes=("NV",), coverage=0.9))
    second = make_prediction({"NV": 1.0}, none=0.0, conformal_set=ConformalSet(codes=("MEL",), coverage=0.9))
    combined = combine([second, first])

    assert combined is not None
    shares = {one.code: one.probability for one in combined.prediction.probabilities}
    assert (shares["MEL"], shares["NV"]) == pytest.approx((0.5, 0.5))
    assert combined.prediction.conformal_set.codes == ("MEL", "NV")
    assert (combined.worst, combined.prediction.risk) == (1, first.risk)
    assert (combined.used, combined.left_out, combined.is_doubtful) == ((0, 1), (), False)


def test_an_image_that_is_of_no_use_is_not_in_the_mean_but_its_band_counts() -> None:
    """Nothing reassures by being left out."""
    good = make_prediction({"NV": 1.0}, none=0.0)
    blurred = make_prediction({"MEL": 1.0}, none=0.0, quality=(make_finding(grade="reject"),), risk=make_risk(0.99))
    combined = combine([good, blurred, outside_prediction()])

    assert combined is not None
    assert combined.prediction.top.code == "NV"
    assert (combined.used, combined.left_out) == ((0,), (1, 2))
    assert combined.prediction.risk == blurred.risk


def test_images_of_which_none_is_of_use_are_said_to_be_so() -> None:
    """There is a mean all the same, and it is doubtful."""
    combined = combine([outside_prediction(), outside_prediction()])

    assert combined is not None
    assert combined.is_doubtful
    assert combined.left_out == ()


def test_answers_of_different_versions_are_not_combined() -> None:
    """Their numbers were calibrated apart."""
    other = ModelIdentity(name="skin-lesion", version="4", backbone="vit", bundle_digest="b" * 64)

    assert combine([make_prediction(), make_prediction(model=other)]) is None


def test_the_set_of_a_combined_answer_claims_no_coverage() -> None:
    """Nobody measured it."""
    prediction = make_prediction()
    combined = combine([prediction, attrs.evolve(prediction, request_id="req-0002")])
    assert combined is not None
    view = combined_view(combined, texts_for("en"))

    assert "was not measured" in view.conformal
    assert view.headline.kicker == "Mean of 2 of 2 images"
