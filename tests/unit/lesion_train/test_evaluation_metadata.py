"""The decision parameters for images that come with age, sex and site, measured like the others."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import numpy as np
import pytest
import safetensors.numpy

from lesion_core.bundle import REFERENCE, Bundle, BundleManifest
from lesion_core.datasets import read_dataset
from lesion_core.datasets.synthetic import write_synthetic_dataset
from lesion_core.decision.calibration import calibrated_probabilities
from lesion_core.decision.conformal import conformal_sets
from lesion_core.decision.metadata import adjusted_logits, metadata_features
from lesion_core.decision.ood import NetworkOutput
from lesion_core.decision.parameters import MetadataAdjustment
from lesion_core.decision.triage import MALIGNANT, malignancy_risk, malignant_classes
from lesion_core.interval import Interval
from lesion_core.records import ImageRecord, labels_of
from lesion_core.reliability import expected_calibration_error
from lesion_core.taxonomy import ISIC_2019
from lesion_train.evaluation.choice import Choice, Role
from lesion_train.evaluation.findings import WITH_METADATA, findings
from lesion_train.evaluation.measure import measure_outputs
from lesion_train.evaluation.part import AnsweredPart
from lesion_train.evaluation.run import write_evaluation
from lesion_train.evaluation.summary import describe
from lesion_train.evaluation.values import NUMBERS, REPORT, Evaluation, read_evaluation
from support.bundles import make_tiny_bundle

HEADING = "Answers that take age, sex and site into account"
LOW = Interval(value=0.6, low=0.5, high=0.7)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """With second parameters that are unlike the first in everything that is measured."""
    made = make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "bundle")
    first = made.manifest.decision
    point, *others = first.operating_points
    weights = np.random.default_rng(2).normal(0, 0.3, (metadata_features(()), 8))
    second = attrs.evolve(
        first,
        temperature=2.0,
        conformal=attrs.evolve(first.conformal, temperature=1.5, quantiles=(0.8,) * 8),
        operating_points=(attrs.evolve(point, threshold=attrs.evolve(point.threshold, value=0.5)), *others),
        triage=tuple(
            attrs.evolve(band, lower=lower) for band, lower in zip(first.triage, (0.0, 0.5, 0.7), strict=True)
        ),
        metadata=MetadataAdjustment(sites=(), weights=tuple(map(tuple, weights.tolist()))),
    )
    return attrs.evolve(made, manifest=attrs.evolve(made.manifest, decision_with_metadata=second))


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> tuple[ImageRecord, ...]:
    return read_dataset(write_synthetic_dataset(tmp_path_factory.mktemp("data"), images_per_class=6)).records


@attrs.frozen(kw_only=True)
class Measured:
    """One evaluation, what it was taken from, and where it was written."""

    output: NetworkOutput
    evaluation: Evaluation
    folder: Path


def measure(
    bundle: Bundle, manifest: BundleManifest, records: tuple[ImageRecord, ...]
) -> tuple[NetworkOutput, Evaluation, AnsweredPart]:
    """Made-up answers of a network, and what they come to by a manifest."""
    reference, random = safetensors.numpy.load(bundle.read(REFERENCE)), np.random.default_rng(0)
    logits = random.normal(0, 1, (len(records), 8)) + 1.5 * np.eye(9)[labels_of(records, ISIC_2019), :8]
    embeddings = random.normal(0, 1, (len(records), reference["class_means"].shape[1]))
    output = NetworkOutput(logits=logits, embeddings=embeddings)
    choice = Choice(
        dataset="pretended", records=records, part="test", role=Role.TEST, data_digest=None, split_digest=None
    )
    return output, *measure_outputs(output, choice, manifest=manifest, reference=reference, resamples=20)


@pytest.fixture(scope="module")
def measured(bundle: Bundle, records: tuple[ImageRecord, ...], tmp_path_factory: pytest.TempPathFactory) -> Measured:
    output, evaluation, part = measure(bundle, bundle.manifest, records)
    folder = tmp_path_factory.mktemp("out")
    write_evaluation(evaluation, part, folder)
    return Measured(output=output, evaluation=evaluation, folder=folder)


def test_the_second_parameters_are_measured_on_answers_with_metadata(
    bundle: Bundle, records: tuple[ImageRecord, ...], measured: Measured
) -> None:
    """Their temperature, sets, thresholds and bands: what core says of the adjusted logits."""
    parameters, labels = bundle.manifest.decision_with_metadata, labels_of(records, ISIC_2019)
    assert parameters is not None
    assert parameters.metadata is not None
    logits = adjusted_logits(measured.output.logits, records, parameters.metadata)
    probabilities = calibrated_probabilities(logits, parameters.temperature)
    sets = conformal_sets(calibrated_probabilities(logits, 1.5), parameters.conformal.quantiles)
    held = sets[np.arange(len(labels)), labels]
    is_malignant, risk = malignant_classes(ISIC_2019)[labels], malignancy_risk(probabilities, ISIC_2019)

    found = measured.evaluation.decision_with_metadata

    assert found is not None
    assert found.reliability.temperature == 2.0
    assert found.reliability.ece is not None
    assert found.reliability.ece.value == pytest.approx(expected_calibration_error(probabilities, labels))
    assert found.conformal.coverage is not None
    assert found.conformal.coverage.value == pytest.approx(held.mean())
    coverages = [coverage.value for coverage in found.coverage if coverage]
    assert coverages == pytest.approx([held[labels == label].mean() for label in range(8)])
    first = found.operating_points[0]
    assert (first.target, first.threshold) == (MALIGNANT, 0.5)
    assert first.sensitivity is not None
    assert first.sensitivity.value == pytest.approx((risk >= 0.5)[is_malignant].mean())
    assert [band.malignant for band in found.triage] == np.histogram(risk[is_malignant], (0, 0.5, 0.7, 1))[0].tolist()


def test_of_images_without_metadata_nothing_is_said(bundle: Bundle, records: tuple[ImageRecord, ...]) -> None:
    """Nor of a bundle that has no such parameters."""
    blank = tuple(attrs.evolve(r, age_approx=None, sex=None, anatom_site_general=None) for r in records)
    without = attrs.evolve(bundle.manifest, decision_with_metadata=None)

    for manifest, images in ((bundle.manifest, blank), (without, records)):
        _, evaluation, _ = measure(bundle, manifest, images)

        assert evaluation.with_metadata is None
        assert evaluation.decision_with_metadata is None


def test_the_report_and_the_terminal_show_them(measured: Measured) -> None:
    """ECE and coverage in the terminal, a table in the report."""
    told = measured.evaluation.decision_with_metadata
    assert told is not None
    assert told.conformal.coverage is not None

    lines = describe(measured.evaluation).splitlines()

    assert f"    with age, sex, site  {told.reliability.ece}" in lines
    assert f"    with age, sex, site  coverage {told.conformal.coverage}" in lines
    report = (measured.folder / REPORT).read_text(encoding="utf-8")
    table = report.partition(HEADING)[2].partition("</table>")[0]
    assert "at temperature 2.000" in table
    assert "at threshold 0.500" in table
    assert table.count("<tr>") == 4 + 8 + 2 * len(told.operating_points) + len(told.triage)


def test_an_evaluation_that_was_written_before_they_were_measured_can_be_read(
    measured: Measured, tmp_path: Path
) -> None:
    """What is not in it is none."""
    content = json.loads((measured.folder / NUMBERS).read_text(encoding="utf-8"))
    del content["decision_with_metadata"]
    del content["data"]["dataset_images"]
    (tmp_path / NUMBERS).write_text(json.dumps(content), encoding="utf-8")

    assert read_evaluation(measured.folder / NUMBERS) == measured.evaluation
    read = read_evaluation(tmp_path / NUMBERS)

    assert read == attrs.evolve(measured.evaluation, decision_with_metadata=None)


def test_broken_promises_of_the_second_parameters_stand_out(measured: Measured) -> None:
    """In sentences of their own."""
    told = measured.evaluation.decision_with_metadata
    assert told is not None
    kept = attrs.evolve(measured.evaluation, decision_with_metadata=None)
    broken = attrs.evolve(
        told,
        coverage=(LOW, *[None] * 7),
        operating_points=(attrs.evolve(told.operating_points[0], sensitivity=LOW),),
    )

    new = set(findings(attrs.evolve(kept, decision_with_metadata=broken))) - set(findings(kept))

    assert {sentence.replace("\u00a0", " ") for sentence in new} == {
        f"{WITH_METADATA}, the threshold for malignant was set for a sensitivity of 95 % and reaches 60 % (50–70).",
        f"{WITH_METADATA}, conformal sets hold MEL in 60 % (50–70) of its images; 90 % were promised.",
    }
