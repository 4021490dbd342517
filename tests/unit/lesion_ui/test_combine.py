"""Several images of one lesion."""

from __future__ import annotations

import itertools

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_no_order_of_the_images_changes_what_is_said_of_them() -> None:
    """Of images of which none is of use: a blurred one, a strange one, and a dark and strange one."""
    images = (
        make_prediction({"MEL": 0.7, "NV": 0.1}, quality=(make_finding(grade="reject", value=0.3, threshold=0.5),)),
        outside_prediction(),
        attrs.evolve(outside_prediction(), quality=(make_finding(value=90.0), make_finding(code="ruler"))),
    )
    found = [combine(order) for order in itertools.permutations(images)]
    views = [combined_view(one, texts_for("en")) for one in found if one is not None]

    assert len(views) == 6
    assert len({attrs.evolve(view, model="") for view in views}) == 1
    assert all(one is not None and one.is_doubtful for one in found)
    assert views[0].alert is not None
    assert views[0].quality_alert is not None
    assert [note.is_reject for note in views[0].quality] == [True, False, False]


@given(st.lists(st.integers(0, 3), min_size=2, max_size=6))
def test_no_order_changes_the_numbers(kinds: list[int]) -> None:
    """Good, flawed, unusable and strange ones, some of them more than once."""
    different = (
        make_prediction({"MEL": 0.1, "NV": 0.3, "BCC": 0.7}, none=0.1),
        make_prediction({"NV": 1.0}, none=0.0, quality=(make_finding(value=60.0),)),
        make_prediction(quality=(make_finding(grade="reject"),), risk=make_risk(0.99)),
        outside_prediction(),
    )
    forth, back = (combine([different[kind] for kind in order]) for order in (kinds, kinds[::-1]))

    assert forth is not None
    assert back is not None
    assert forth.prediction == back.prediction


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
