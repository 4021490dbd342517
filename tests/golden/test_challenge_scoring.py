"""Our scores are those of the ISIC challenge's own program, run beside them on the same submissions."""

from __future__ import annotations

import csv
import json
import math
import subprocess
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from numpy.typing import NDArray

from lesion_core.challenge import ChallengeScores, ClassScores, balanced_accuracies, challenge_scores
from lesion_core.taxonomy import ISIC_2019
from lesion_train.evaluation.submission import write_submission

OFFICIAL = Path.cwd() / "isic-challenge-scoring.pex"
STEPS = 4096  # probabilities are multiples of 1/4096: written and read as decimals without any rounding


def official_scores(folder: Path, probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, Any]:
    """What the official program prints for a submission."""
    codes = ISIC_2019.codes[: probabilities.shape[1]]
    truth = np.eye(len(codes))[labels]
    for name, rows in (("truth.csv", truth), ("submission.csv", probabilities)):
        with (folder / name).open("w", newline="") as stream:
            table = csv.writer(stream)
            table.writerow(["image", *codes])
            table.writerows([f"ISIC_{n:07d}", *map(float, row)] for n, row in enumerate(rows))
    return scored(folder / "truth.csv", folder / "submission.csv")


def scored(truth: Path, submission: Path) -> dict[str, Any]:
    """What the official program prints for two files."""
    command = [str(OFFICIAL), "--output", "json", "classification", str(truth), str(submission)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    scores: dict[str, Any] = json.loads(done.stdout)
    return scores


def assert_equal_scores(ours: ChallengeScores, theirs: dict[str, Any]) -> None:
    """Every number, to the last digits."""
    assert ours.balanced_accuracy == pytest.approx(theirs["aggregate"]["balanced_accuracy"], abs=1e-12)
    for field in attrs.fields(ClassScores):
        column = {code: getattr(scores, field.name) for code, scores in ours.per_class.items()}
        assert column == pytest.approx(theirs["per_category"][field.name], abs=1e-12), field.name
        mean = theirs["macro_average"][field.name]
        assert getattr(ours.macro_average, field.name) == pytest.approx(mean, abs=1e-12), field.name


def rounded(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.round(probabilities * STEPS) / STEPS


def every_class_and(more: int, classes: int, random: np.random.Generator) -> NDArray[np.int64]:
    return np.concatenate([np.arange(classes), random.integers(0, classes, more)])


@pytest.mark.parametrize("classes", [8, 9])
@pytest.mark.parametrize("concentration", [0.05, 1.0])
def test_random_submissions_score_the_same(tmp_path: Path, classes: int, concentration: float) -> None:
    """Sure and unsure ones, with and without the ninth class."""
    random = np.random.default_rng(classes)
    labels = every_class_and(150, classes, random)
    probabilities = rounded(random.dirichlet(np.full(classes, concentration), len(labels)))

    assert_equal_scores(
        challenge_scores(probabilities, labels, ISIC_2019.codes[:classes]),
        official_scores(tmp_path, probabilities, labels),
    )


@pytest.mark.parametrize(
    "kind",
    ["perfect", "all wrong", "constant", "all zero", "all one", "always the same class", "exactly one half", "ties"],
)
def test_degenerate_submissions_score_the_same(tmp_path: Path, kind: str) -> None:
    """Where ratios have no denominator and every answer is tied."""
    random = np.random.default_rng(1)
    labels = every_class_and(30, 9, random)
    right = np.eye(9)[labels]
    probabilities = {
        "perfect": right,
        "all wrong": np.eye(9)[(labels + 1) % 9],
        "constant": np.full_like(right, 0.125),
        "all zero": np.zeros_like(right),
        "all one": np.ones_like(right),
        "always the same class": np.eye(9)[np.full(len(labels), 3)],
        "exactly one half": right * 0.5,
        "ties": np.round(random.dirichlet(np.ones(9), len(labels)) * 8) / 8,
    }[kind]

    assert_equal_scores(
        challenge_scores(probabilities, labels, ISIC_2019.codes), official_scores(tmp_path, probabilities, labels)
    )


def test_a_class_without_images_is_left_out_of_the_means() -> None:
    """The official program stops there; a part of the data may well lack a class."""
    random = np.random.default_rng(2)
    labels = random.integers(0, 8, 100)
    probabilities = random.dirichlet(np.ones(9), 100)

    scores = challenge_scores(probabilities, labels, ISIC_2019.codes)

    assert math.isnan(scores.per_class["UNK"].auc)
    assert scores.per_class["UNK"].sensitivity == 1.0
    defined = [scores.per_class[code].auc for code in ISIC_2019.trained_codes]
    assert scores.macro_average.auc == pytest.approx(np.mean(defined))


def test_balanced_accuracy_without_and_with_none_of_the_above(tmp_path: Path) -> None:
    """Both are what the official program says of a submission with that many classes."""
    random = np.random.default_rng(3)
    labels = every_class_and(60, 9, random)
    probabilities = rounded(random.dirichlet(np.ones(9), len(labels)))
    known = labels < 8
    for name in ("eight", "nine"):
        (tmp_path / name).mkdir()

    eight, nine = balanced_accuracies(probabilities, labels)

    without = official_scores(tmp_path / "eight", probabilities[known, :8], labels[known])
    assert eight == pytest.approx(without["aggregate"]["balanced_accuracy"])
    with_none = official_scores(tmp_path / "nine", probabilities, labels)
    assert nine == pytest.approx(with_none["aggregate"]["balanced_accuracy"])


def test_the_official_program_takes_our_submission_and_gives_our_accuracy(tmp_path: Path) -> None:
    """The file of 'lesion-train evaluate --isic-csv', with all digits of sure and unsure answers."""
    random = np.random.default_rng(4)
    labels = every_class_and(150, 9, random)
    probabilities = random.dirichlet(np.full(9, 0.3), len(labels))
    images = [f"ISIC_{number:07d}" for number in range(len(labels))]
    write_submission(images, probabilities, tmp_path / "new" / "submission.csv")
    write_submission(images, np.eye(9)[labels], tmp_path / "truth.csv")

    theirs = scored(tmp_path / "truth.csv", tmp_path / "new" / "submission.csv")

    assert theirs["aggregate"]["balanced_accuracy"] == pytest.approx(balanced_accuracies(probabilities, labels)[1])
    assert_equal_scores(challenge_scores(probabilities, labels, ISIC_2019.codes), theirs)


def test_shapes_that_do_not_fit_are_refused() -> None:
    """Eight columns for nine codes."""
    with pytest.raises(ValueError, match=r"\(1, 9\)"):
        challenge_scores(np.zeros((1, 8)), np.array([0]), ISIC_2019.codes)
