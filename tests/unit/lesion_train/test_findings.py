"""Sentences about promises that are not kept."""

from __future__ import annotations

import attrs
import pytest

from lesion_core.datasets.synthetic import write_synthetic_dataset
from lesion_core.interval import Interval
from lesion_train.evaluation.findings import findings
from lesion_train.evaluation.run import EvaluationOptions, evaluate_bundle
from lesion_train.evaluation.values import CorruptionResult, Evaluation, OutsideGroup, Robustness, SubgroupResult
from support.bundles import make_tiny_bundle

SURE = Interval(value=0.97, low=0.93, high=0.99)
LOW = Interval(value=0.6, low=0.5, high=0.7)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """An evaluation whose promises are all kept."""
    folder = tmp_path_factory.mktemp("findings")
    data = write_synthetic_dataset(folder / "data", images_per_class=4, side_px=64)
    options = EvaluationOptions(resamples=10, threads=1, device="cpu")
    measured = evaluate_bundle(make_tiny_bundle(folder / "bundle"), data, folder / "out", options)
    return attrs.evolve(
        measured,
        classes=tuple(attrs.evolve(item, coverage=SURE) for item in measured.classes),
        operating_points=tuple(attrs.evolve(point, sensitivity=SURE) for point in measured.operating_points),
        subgroups=(),
    )


def test_kept_promises_are_not_mentioned(kept: Evaluation) -> None:
    """The section is left out then."""
    assert findings(kept) == ()


def test_a_threshold_that_misses_its_sensitivity_is_named(kept: Evaluation) -> None:
    """With what it was set for and what it reaches."""
    first, *others = kept.operating_points
    missed = attrs.evolve(kept, operating_points=(attrs.evolve(first, sensitivity=LOW), *others))

    (sentence,) = findings(missed)

    assert sentence.replace("\u00a0", " ") == (
        "The threshold for malignant was set for a sensitivity of 95 % and reaches 60 % (50–70)."
    )


def test_an_interval_that_reaches_the_promise_keeps_it(kept: Evaluation) -> None:
    """Few images are no evidence against it."""
    wide = Interval(value=0.7, low=0.4, high=0.96)
    classes = tuple(attrs.evolve(item, coverage=wide) for item in kept.classes)

    assert findings(attrs.evolve(kept, classes=classes)) == ()


def test_groups_classes_strange_images_and_corruptions_are_named(kept: Evaluation) -> None:
    """Each in its own sentence."""
    head = SubgroupResult(
        grouping="site",
        group="head/neck",
        images=90,
        lesions=70,
        malignant_lesions=39,
        macro_auroc=None,
        bma=None,
        sensitivity=LOW,
        specificity=None,
    )
    clean = CorruptionResult(corruption="none", severity=0, bma=LOW, sensitivity=SURE, called_outside=None)
    hairy = [attrs.evolve(clean, corruption="hair", severity=level, sensitivity=LOW) for level in range(1, 6)]
    spoiled = attrs.evolve(
        kept,
        classes=(attrs.evolve(kept.classes[0], coverage=LOW), *kept.classes[1:]),
        subgroups=(head,),
        outside=attrs.evolve(
            kept.outside,
            groups=(
                OutsideGroup(name="phones", images=9, auroc=None, called_outside=Interval(value=0.1, low=0, high=0.3)),
            ),
        ),
        robustness=Robustness(clean=clean, results=tuple(hairy), relative_bma=1.0),
    )

    sentences = findings(spoiled)

    assert len(sentences) == 4
    for sentence, words in zip(sentences, ("site head/neck", "sets hold MEL", "“phones”", "With hair"), strict=True):
        assert words in sentence
