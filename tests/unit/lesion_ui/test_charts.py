"""The chart of the page."""

from __future__ import annotations

import pytest

from lesion_core.monitoring import Day
from lesion_core.taxonomy import Malignancy
from lesion_ui import palette
from lesion_ui.charts import probability_chart
from lesion_ui.report_charts import volume_chart
from lesion_ui.view import answer_view
from support.fake_service import make_prediction, outside_prediction


def test_each_bar_has_its_number_and_its_length() -> None:
    """Nine bars, the first on top."""
    bars = answer_view(make_prediction()).bars
    figure = probability_chart(bars)

    assert list(figure.data[1].text) == [bar.text for bar in bars]
    assert list(figure.data[1].x) == [100 * bar.probability for bar in bars]
    assert list(figure.layout.yaxis.ticktext) == [bar.label for bar in bars]
    assert figure.layout.yaxis.autorange == "reversed"


def test_malignant_classes_are_marked_by_more_than_colour() -> None:
    """A symbol in the label and a pattern in the bar, which no other group has."""
    bars = answer_view(make_prediction()).bars
    figure = probability_chart(bars)

    for bar, pattern in zip(bars, figure.data[1].marker.pattern.shape, strict=True):
        is_malignant = bar.malignancy is Malignancy.MALIGNANT
        assert (pattern == "/") == is_malignant
        assert bar.label.startswith("▲") == is_malignant


def test_none_of_the_above_looks_like_no_diagnosis() -> None:
    """On top and grey for an image unlike the training images."""
    figure = probability_chart(answer_view(outside_prediction()).bars)

    assert figure.layout.yaxis.ticktext[0] == "○ None of the above"
    assert figure.data[1].marker.color[0] == palette.NONE


@pytest.mark.parametrize(("most", "step"), [(1, 1), (5, 1), (6, None), (2_000, None)])
def test_few_predictions_are_counted_in_whole_ones(most: int, step: int | None) -> None:
    days = [Day(date="2026-01-31", predictions=most, outside=0, rejected=0, reviewed=0)]

    assert volume_chart(days).layout.yaxis.dtick == step
