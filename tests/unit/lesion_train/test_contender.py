"""Two models side by side, on the same held-out images."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import pytest

from lesion_core.errors import LesionError
from lesion_train.contender import Contender, NotComparableError, Pair, pair
from lesion_train.predictions import read_predictions, write_predictions
from lesion_train.promotion import examine
from support.bundles import make_tiny_bundle
from support.runs import make_contender


def test_runs_are_compared_like_versions(tmp_path: Path) -> None:
    """From their folders; a pair needs the same images."""
    tiny = make_tiny_bundle(tmp_path / "tiny")
    one = Contender.from_run(make_contender(tmp_path, tiny, skill=0.5, seed=1).folder)
    two = Contender.from_run(make_contender(tmp_path, tiny, skill=0.9, seed=2).folder)
    fewer = Contender.from_run(make_contender(tmp_path, tiny, skill=0.9, seed=3, count=160).folder)

    both = pair(one, two)

    assert both.difference("BMA").difference.low > 0
    assert {"BMA", "macro AUROC", "ECE", "sensitivity MEL", "sensitivity DF"} <= set(both.metrics())
    with pytest.raises(NotComparableError, match="different images"):
        pair(one, fewer)


def test_predictions_of_an_earlier_release_are_read_too(tmp_path: Path) -> None:
    """They said nothing of patients: each lesion is drawn by itself."""
    path = tmp_path / "test.csv"
    path.write_text("isic_id,lesion_id,label,MEL,NV\na,L1,NV,0.25,0.75\nb,L2,MEL,0.5,0.5\n")

    found = read_predictions(path)
    write_predictions(attrs.evolve(found, units=np.array(["P", "P"])), path)

    assert found.units.tolist() == found.lesions.tolist() == ["L1", "L2"]
    assert read_predictions(path).units.tolist() == ["P", "P"]
    assert read_predictions(path).probabilities.tolist() == found.probabilities.tolist()
    path.write_text("isic_id,lesion_id,unit,label,MEL,NV\na,L1,L1,NV,0.25\n")
    with pytest.raises(LesionError, match="not a file of predictions"):
        read_predictions(path)


def test_a_single_melanoma_lesion_says_nothing_of_melanoma(tmp_path: Path) -> None:
    """A bootstrap of one has no spread: every difference would be certain, and none at all be passed."""
    tiny = make_tiny_bundle(tmp_path / "tiny")
    both = []
    for seed in (1, 2):
        made = Contender.from_run(make_contender(tmp_path, tiny, skill=0.9, seed=seed).folder)
        said = made.predictions["test"]
        is_melanoma = said.labels == said.codes.index("MEL")
        units = np.where(is_melanoma, "one", said.units)
        both.append(attrs.evolve(made, predictions={"test": attrs.evolve(said, units=units)}))

    gates = {gate.name: gate for gate in examine(both[1], both[0])}

    assert not gates["sensitivity MEL"].has_passed
    assert "images of one lesion of MEL only" in gates["sensitivity MEL"].sentence
    assert "sensitivity MEL" not in set(pair(both[0], both[1]).metrics())


def test_one_image_of_a_rare_class_does_not_refuse_a_promotion(tmp_path: Path) -> None:
    """It alone moves BMA by an eighth, in every resample alike; nor do two say all of a sensitivity."""
    tiny = make_tiny_bundle(tmp_path / "tiny")
    made = Contender.from_run(make_contender(tmp_path, tiny, skill=0.9, seed=1).folder)
    said = made.predictions["test"]
    rare = said.codes.index("DF")
    kept = (said.labels != rare) | (np.cumsum(said.labels == rare) == 1)
    right = attrs.evolve(
        said,
        **{name: getattr(said, name)[kept] for name in ("isic_ids", "lesions", "units", "labels", "probabilities")},
    )
    right.probabilities[right.labels == rare] = np.eye(8)[rare]
    wrong = attrs.evolve(right, probabilities=right.probabilities.copy())
    wrong.probabilities[wrong.labels == rare] = np.eye(8)[rare - 1]
    champion, candidate = (attrs.evolve(made, predictions={"test": one}) for one in (right, wrong))

    difference = pair(champion, candidate).difference("BMA")
    area = pair(champion, candidate).difference("macro AUROC")

    assert difference.difference.value == pytest.approx(-1 / 8)
    assert difference.difference.high > 0
    assert difference.first.high - difference.first.low > 0.05
    assert area.difference.high > 0
    assert {gate.name: gate for gate in examine(candidate, champion)}["BMA"].has_passed


def test_two_lesions_of_a_class_do_not_make_a_sensitivity_certain(tmp_path: Path) -> None:
    """Both found by the one and neither by the other: what else two could have shown is in the interval."""
    tiny = make_tiny_bundle(tmp_path / "tiny")
    made = Contender.from_run(make_contender(tmp_path, tiny, skill=0.9, seed=1).folder)
    said = made.predictions["test"]
    is_melanoma = said.labels == said.codes.index("MEL")
    units = np.where(is_melanoma, np.where(np.cumsum(is_melanoma) % 2, "one", "two"), said.units)
    found, missed = said.probabilities.copy(), said.probabilities.copy()
    found[is_melanoma], missed[is_melanoma] = np.eye(8)[0], np.eye(8)[1]
    both = [attrs.evolve(said, units=units, probabilities=one) for one in (found, missed)]

    difference = Pair(part="test", first=both[0], second=both[1]).difference("sensitivity MEL").difference

    assert (difference.value, difference.low) == pytest.approx((-1, -1))
    assert -0.2 < difference.high < 0
