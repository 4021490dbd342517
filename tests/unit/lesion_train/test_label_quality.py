"""Labels that a model does not believe."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lesion_train.label_quality import describe_label_issues, find_label_issues, write_label_issues
from lesion_train.predictions import Predictions

CODES = ("MEL", "NV", "DF")


def predictions(labels: list[int], probabilities: list[list[float]]) -> Predictions:
    count = len(labels)
    return Predictions(
        isic_ids=np.array([f"ISIC_{n:04d}" for n in range(count)]),
        lesions=(lesions := np.array([f"L{n}" for n in range(count)])),
        units=lesions,
        labels=np.array(labels),
        probabilities=np.array(probabilities, dtype=np.float64),
        codes=CODES,
    )


def test_a_confident_answer_against_the_label_is_named_the_surest_first() -> None:
    """With both probabilities; images that the model agrees with, or is unsure of, are not."""
    sure = [[0.9, 0.05, 0.05]] * 5 + [[0.05, 0.9, 0.05]] * 5
    found = find_label_issues(
        predictions([0] * 5 + [1] * 5 + [1, 0, 0], [*sure, [0.95, 0.03, 0.02], [0.04, 0.92, 0.04], [0.4, 0.35, 0.25]])
    )

    assert [(issue.isic_id, issue.label, issue.suggested) for issue in found] == [
        ("ISIC_0010", "NV", "MEL"),
        ("ISIC_0011", "MEL", "NV"),
    ]
    assert found[0].margin == 0.95 - 0.03


@given(st.integers(0, 10_000), st.floats(0.02, 0.2))
def test_flipped_labels_are_found_and_no_others(seed: int, flipped_share: float) -> None:
    """Of a model that is right and mostly sure; it asks for more than its average, so about half are found."""
    random = np.random.default_rng(seed)
    truth = random.choice(3, 6000, p=[0.5, 0.4, 0.1])
    probabilities = np.full((6000, 3), 0.06)
    probabilities[np.arange(6000), truth] = 0.88
    probabilities = 0.8 * probabilities + 0.2 * random.dirichlet([1, 1, 1], 6000)
    is_flipped = random.random(6000) < flipped_share
    labels = np.where(is_flipped, (truth + 1) % 3, truth)

    found = {issue.isic_id for issue in find_label_issues(predictions(labels.tolist(), probabilities.tolist()))}

    wrong = {f"ISIC_{row:04d}" for row in np.flatnonzero(is_flipped)}
    assert found <= wrong
    assert len(found) >= 0.3 * len(wrong)


def test_a_rare_class_is_not_called_wrong_for_being_rare() -> None:
    """All its images get little probability; its threshold is as low."""
    rare = [[0.1, 0.6, 0.3]] * 3
    common = [[0.1, 0.88, 0.02]] * 30

    assert find_label_issues(predictions([2] * 3 + [1] * 30, rare + common)) == []


def test_the_report_has_all_of_them_and_the_terminal_the_first(tmp_path: Path) -> None:
    """As a table for a spreadsheet, and as lines."""
    rows = [[0.9, 0.05, 0.05]] * 4 + [[0.05, 0.9, 0.05]] * 4 + [[0.95, 0.03, 0.02]] * 3
    found = find_label_issues(predictions([0] * 4 + [1] * 4 + [1] * 3, rows))

    write_label_issues(found, tmp_path / "issues.csv")

    with (tmp_path / "issues.csv").open() as stream:
        table = list(csv.DictReader(stream))
    assert [row["isic_id"] for row in table] == ["ISIC_0008", "ISIC_0009", "ISIC_0010"]
    assert (table[0]["label"], table[0]["suggested"], float(table[0]["margin"])) == ("NV", "MEL", found[0].margin)
    shown = describe_label_issues(found, 11, shown=1)
    assert "3 of 11 images" in shown
    assert "3 labelled NV, believed MEL" in shown
    assert shown.count("ISIC_") == 1
