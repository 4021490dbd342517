"""Scores by group of patients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lesion_core.bootstrap import bootstrap_interval
from lesion_core.metrics import balanced_multiclass_accuracy
from lesion_core.records import ImageRecord
from lesion_core.subgroups import age_band, groupings, subgroup_scores


@pytest.mark.parametrize(
    ("age", "band"),
    [
        (None, "unknown"),
        (0, "<30"),
        (29.9, "<30"),
        (30, "30–44"),
        (44.9, "30–44"),
        (60, "60–74"),
        (75, "75+"),
        (120, "75+"),
    ],
)
def test_ages_fall_into_bands(age: float | None, band: str) -> None:
    """Each lower end belongs to its band."""
    assert age_band(age) == band


def test_groups_come_from_the_records_and_blanks_are_a_group() -> None:
    """By sex, age, site and source."""
    record = ImageRecord(isic_id="a", path=Path("a.jpg"), diagnosis="NV", lesion_id="1", age_approx=50.0, source="BCN")

    found = {name: values.tolist() for name, values in groupings([record]).items()}

    assert found == {"sex": ["unknown"], "age": ["45–59"], "site": ["unknown"], "source": ["BCN"]}


def test_each_group_is_scored_on_its_own_images_and_a_small_one_not_at_all() -> None:
    """Lesions count, not images."""
    random = np.random.default_rng(0)
    labels = np.arange(300) % 3
    probabilities = random.dirichlet(np.ones(3), 300)
    lesions = np.array([f"lesion-{n}" for n in range(300)])
    groups = np.array(["female"] * 150 + ["male"] * 110 + ["unknown"] * 40)
    lesions[groups == "unknown"] = [f"other-{n % 19}" for n in range(40)]

    scores = subgroup_scores(
        balanced_multiclass_accuracy, probabilities, labels, lesions, {"sex": groups}, resamples=50
    )

    assert [(s.group, s.images, s.lesions) for s in scores] == [
        ("female", 150, 150),
        ("male", 110, 110),
        ("unknown", 40, 19),
    ]
    women = slice(0, 150)
    assert scores[0].score == bootstrap_interval(
        balanced_multiclass_accuracy, probabilities[women], labels[women], lesions[women], resamples=50
    )
    assert scores[2].score is None
