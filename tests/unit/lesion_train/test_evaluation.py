"""The evaluation of a bundle, from a folder of images to the report."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path

import attrs
import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray

from lesion_core.bundle import REFERENCE, Bundle
from lesion_core.datasets import read_dataset
from lesion_core.datasets.synthetic import write_synthetic_dataset
from lesion_core.decision.calibration import calibrated_probabilities
from lesion_core.decision.ood import NetworkOutput
from lesion_core.errors import DatasetError
from lesion_core.metrics import balanced_multiclass_accuracy, macro_auroc
from lesion_core.records import ImageRecord, labels_of
from lesion_core.taxonomy import ISIC_2019, Taxonomy
from lesion_train.evaluation.choice import Choice, Role
from lesion_train.evaluation.corruptions import CORRUPTIONS, SEVERITIES
from lesion_train.evaluation.errors import EvaluationError
from lesion_train.evaluation.robustness import measure_robustness
from lesion_train.evaluation.run import EvaluationOptions, evaluate_bundle, evaluate_outputs
from lesion_train.evaluation.summary import describe
from lesion_train.evaluation.values import NUMBERS, REPORT, Evaluation, Robustness, read_evaluation
from support.bundles import make_tiny_bundle
from support.layouts import picture

RESAMPLES = 40


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "bundle")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_dataset(tmp_path_factory.mktemp("data"), images_per_class=8, side_px=80)


@pytest.fixture(scope="module")
def ood(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ood")
    for group, count in (("blocks", 5), ("more blocks", 3)):
        (folder / group).mkdir()
        for number in range(count):
            (folder / group / f"{number}.jpg").write_bytes(picture(seed=number))
    return folder


@attrs.frozen(kw_only=True)
class Measured:
    """One evaluation and where it was written."""

    evaluation: Evaluation
    folder: Path
    isic_csv: Path

    @property
    def report(self) -> str:
        return (self.folder / REPORT).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def measured(bundle: Bundle, data: Path, ood: Path, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    folder = tmp_path_factory.mktemp("out") / "evaluation"
    isic_csv = folder.parent / "isic.csv"
    options = EvaluationOptions(ood=ood, isic_csv=isic_csv, resamples=RESAMPLES, threads=1, device="cpu")
    return Measured(evaluation=evaluate_bundle(bundle, data, folder, options), folder=folder, isic_csv=isic_csv)


class _Sources(HTMLParser):
    """Everything that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "srcset", "href", "data")]


def sources_of(report: str) -> list[str]:
    parser = _Sources()
    parser.feed(report)
    return parser.found


def logits_of(records: Sequence[ImageRecord], sure: float) -> NDArray[np.float64]:
    """Noise, and ``sure`` on top for the right class."""
    labels = labels_of(records, ISIC_2019)
    return np.random.default_rng(0).normal(0, 1, (len(records), 8)) + sure * np.eye(9)[labels, :8]


def pretend(
    bundle: Bundle,
    records: Sequence[ImageRecord],
    folder: Path,
    *,
    sure: float = 1.5,
    role: Role = Role.TEST,
    robustness: Robustness | None = None,
) -> Evaluation:
    """The evaluation of made-up answers."""
    reference = safetensors.numpy.load(bundle.read(REFERENCE))
    embeddings = np.random.default_rng(1).normal(0, 1, (len(records), reference["class_means"].shape[1]))
    return evaluate_outputs(
        NetworkOutput(logits=logits_of(records, sure), embeddings=embeddings),
        Choice(
            dataset="pretended",
            records=tuple(records),
            part=role.value,
            role=role,
            data_digest=None,
            split_digest=None,
        ),
        manifest=bundle.manifest,
        reference=reference,
        folder=folder,
        robustness=robustness,
        resamples=RESAMPLES,
    )


def test_the_numbers_on_disk_are_those_that_were_returned(measured: Measured) -> None:
    """And can be read again as the same values."""
    assert read_evaluation(measured.folder / NUMBERS) == measured.evaluation
    assert json.loads((measured.folder / NUMBERS).read_text())["schema_version"] == 1


def test_every_score_lies_in_its_interval_in_its_range(measured: Measured) -> None:
    """Of all classes, groups and bands."""

    def check(value: object) -> int:
        if isinstance(value, dict) and {"value", "low", "high"} <= value.keys():
            assert 0 <= value["low"] <= value["value"] <= value["high"]
            return 1
        children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return sum(map(check, children))

    assert check(json.loads((measured.folder / NUMBERS).read_text())) > 100


def test_the_report_needs_no_other_file_and_no_network(measured: Measured) -> None:
    """All that a browser would fetch is in it; its policy forbids the rest."""
    sources = sources_of(measured.report)

    assert len(sources) > 8
    assert {source.split(",")[0].split("/")[0] for source in sources} == {"data:image"}
    assert "default-src 'none'; img-src data:" in measured.report


def test_the_report_says_what_it_is_and_contains(measured: Measured) -> None:
    """Research use only, images of patients, foreign data, and every class."""
    for words in ("Research use only", "This file contains images of patients", "under <b>a name of its own</b>"):
        assert words in measured.report
    for diagnosis in ISIC_2019.trained:
        assert diagnosis.name in measured.report
    assert "prefers-color-scheme: dark" in measured.report


def test_a_report_without_thumbnails_has_no_image_of_a_patient(bundle: Bundle, data: Path, tmp_path: Path) -> None:
    """Nor says that it has."""
    options = EvaluationOptions(with_thumbnails=False, resamples=RESAMPLES, threads=1, device="cpu")
    evaluation = evaluate_bundle(bundle, data, tmp_path / "out", options)
    report = (tmp_path / "out" / REPORT).read_text()

    assert evaluation.mistakes
    assert "data:image/jpeg" not in report
    assert "contains images of patients" not in report


def test_the_numbers_are_those_of_core(bundle: Bundle, data: Path, tmp_path: Path) -> None:
    """BMA and macro AUROC of calibrated probabilities, and each class's row of the confusion matrix."""
    records = read_dataset(data).records
    labels = labels_of(records, ISIC_2019)
    probabilities = calibrated_probabilities(logits_of(records, 1.5), bundle.manifest.decision.temperature)

    evaluation = pretend(bundle, records, tmp_path / "out", sure=1.5)

    assert evaluation.headline.bma is not None
    assert evaluation.headline.bma.value == pytest.approx(balanced_multiclass_accuracy(probabilities, labels))
    assert evaluation.headline.macro_auroc is not None
    assert evaluation.headline.macro_auroc.value == pytest.approx(macro_auroc(probabilities, labels))
    for row, (result, counts) in enumerate(zip(evaluation.classes, evaluation.confusion, strict=True)):
        assert result.sensitivity is not None
        assert sum(counts) == result.images == 8
        assert result.lesions == 4
        assert result.sensitivity.value == pytest.approx(counts[row] / 8)


def test_a_perfect_model_makes_no_mistakes(bundle: Bundle, data: Path, tmp_path: Path) -> None:
    """And no interval of it pretends that more lesions would change nothing."""
    evaluation = pretend(bundle, read_dataset(data).records, tmp_path / "out", sure=50)

    assert evaluation.mistakes == ()
    assert [item.sensitivity.value for item in evaluation.classes if item.sensitivity] == [1.0] * 8
    assert all(item.sensitivity.low < 0.7 for item in evaluation.classes if item.sensitivity)
    assert [item.auroc.value for item in evaluation.classes if item.auroc] == [1.0] * 8


def test_mistakes_are_wrong_and_ordered_by_how_sure_the_answer_was(measured: Measured) -> None:
    """One a lesion."""
    mistakes = measured.evaluation.mistakes

    assert len(mistakes) > 1
    assert all(mistake.true != mistake.predicted for mistake in mistakes)
    assert all(mistake.probability >= mistake.true_probability for mistake in mistakes)
    assert [m.probability for m in mistakes] == sorted((m.probability for m in mistakes), reverse=True)


def test_each_folder_of_strange_images_is_a_group(measured: Measured) -> None:
    """With how many of them there are."""
    groups = {group.name: group.images for group in measured.evaluation.outside.groups}

    assert groups == {"blocks": 5, "more blocks": 3}


def test_a_folder_without_groups_of_strange_images_is_refused(bundle: Bundle, data: Path, tmp_path: Path) -> None:
    """It says what was expected."""
    options = EvaluationOptions(ood=tmp_path, resamples=RESAMPLES, threads=1, device="cpu")

    with pytest.raises(DatasetError, match="expected folders with images"):
        evaluate_bundle(bundle, data, tmp_path / "out", options)


def test_the_challenge_s_file_has_a_row_for_each_image(measured: Measured, data: Path) -> None:
    """With the nine probabilities of the answer, which sum to 1."""
    with measured.isic_csv.open() as stream:
        header, *rows = csv.reader(stream)

    assert header == ["image", "MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK"]
    assert [row[0] for row in rows] == [record.isic_id for record in read_dataset(data).records]
    values = np.array([row[1:] for row in rows], dtype=float)
    assert ((values >= 0) & (values <= 1)).all()
    assert values.sum(axis=1) == pytest.approx(1)


def test_the_challenge_s_file_of_other_diagnoses_is_refused(bundle: Bundle, data: Path, tmp_path: Path) -> None:
    """Before anything is measured."""
    two = Taxonomy(name="two", trained=ISIC_2019.trained[:2], none_of_the_above=ISIC_2019.none_of_the_above)
    other = attrs.evolve(bundle, manifest=attrs.evolve(bundle.manifest, taxonomy=two))

    with pytest.raises(EvaluationError) as caught:
        evaluate_bundle(other, data, tmp_path / "out", EvaluationOptions(isic_csv=tmp_path / "x.csv"))

    assert caught.value.code == "other_taxonomy"


def test_an_evaluation_is_never_overwritten(measured: Measured, bundle: Bundle, data: Path) -> None:
    """It is said before the network runs."""
    with pytest.raises(EvaluationError) as caught:
        evaluate_bundle(bundle, data, measured.folder, EvaluationOptions())

    assert caught.value.code == "folder_taken"


def test_images_labelled_none_of_the_above_are_strange_and_no_class(bundle: Bundle, data: Path, tmp_path: Path) -> None:
    """They count in the score with none of the above, and in no other."""
    records = read_dataset(data).records
    none = [attrs.evolve(r, diagnosis="UNK", isic_id=f"u{r.isic_id}", lesion_id=f"u{r.lesion_id}") for r in records[:6]]

    without = pretend(bundle, records, tmp_path / "without")
    evaluation = pretend(bundle, [*records, *none], tmp_path / "with")

    assert evaluation.data.none_of_the_above == 6
    assert evaluation.confusion == without.confusion
    assert evaluation.headline.bma == without.headline.bma
    assert evaluation.headline.bma_with_none != without.headline.bma_with_none
    assert [(group.name, group.images) for group in evaluation.outside.groups] == [("labelled UNK", 6)]


def test_corruptions_are_measured_beside_the_clean_images(bundle: Bundle, data: Path, tmp_path: Path) -> None:
    """A network that sees brightness alone, and never one class, loses on dark images and not on pixelated ones."""
    records = read_dataset(data).records
    labels = labels_of(records, ISIC_2019)
    squares = np.stack([np.full((16, 16, 3), 40 + 25 * label, dtype=np.uint8) for label in labels])
    width = safetensors.numpy.load(bundle.read(REFERENCE))["class_means"].shape[1]

    def network(block: NDArray[np.uint8]) -> NetworkOutput:
        distance = np.abs(block.mean(axis=(1, 2, 3))[:, None] - (40 + 25 * np.arange(8)))
        distance[:, 7] = 1000.0
        return NetworkOutput(logits=-distance, embeddings=np.ones((len(block), width)))

    robustness = measure_robustness(
        network,
        squares,
        records,
        manifest=bundle.manifest,
        reference=safetensors.numpy.load(bundle.read(REFERENCE)),
        resamples=RESAMPLES,
        corruptions=("darkness", "pixelation"),
    )

    scores = {(item.corruption, item.severity): item.bma.value for item in robustness.results if item.bma}
    assert robustness.clean.bma is not None
    assert robustness.clean.bma.value == 7 / 8
    assert {scores["pixelation", severity] for severity in range(1, 6)} == {7 / 8}
    assert scores["darkness", 5] < 0.5
    assert robustness.relative_bma == pytest.approx(np.mean(list(scores.values())) / (7 / 8))
    evaluation = pretend(bundle, records, tmp_path / "out", robustness=robustness)
    assert evaluation.robustness == robustness
    report = (tmp_path / "out" / REPORT).read_text()
    assert "Worse photographs" in report
    assert "pixelation" in report


def test_every_corruption_is_measured_where_they_are_asked_for(bundle: Bundle, tmp_path: Path) -> None:
    """By the bundle's own network: what it says of the images as they are is what the evaluation states of them."""
    data = write_synthetic_dataset(tmp_path / "data", images_per_class=1, side_px=64)
    options = EvaluationOptions(corruptions=True, resamples=2, threads=1, device="cpu")

    evaluation = evaluate_bundle(bundle, data, tmp_path / "out", options)

    assert evaluation.robustness is not None
    assert evaluation.robustness.clean.bma == evaluation.headline.bma
    assert evaluation.robustness.clean.called_outside == evaluation.outside.called_outside
    measured = [(result.corruption, result.severity) for result in evaluation.robustness.results]
    assert measured == [(corruption, severity) for corruption in CORRUPTIONS for severity in SEVERITIES]


@pytest.mark.parametrize(
    ("role", "words"),
    [(Role.TEST, "nothing was fitted or chosen on these images"), (Role.VALIDATION, "set the decision parameters")],
)
def test_the_report_says_what_the_images_were_to_the_model(
    bundle: Bundle, data: Path, tmp_path: Path, role: Role, words: str
) -> None:
    """In one clear sentence at the top."""
    pretend(bundle, read_dataset(data).records, tmp_path / "out", role=role)

    others = {"nothing was fitted or chosen on these images", "set the decision parameters"} - {words}
    report = (tmp_path / "out" / REPORT).read_text()
    assert words in report
    assert not any(other in report for other in others)


def test_what_is_in_the_report_is_escaped(bundle: Bundle, data: Path, tmp_path: Path) -> None:
    """A folder's name is a stranger's text."""
    records = [attrs.evolve(record, source="<script>alert(1)</script>") for record in read_dataset(data).records]

    pretend(bundle, records, tmp_path / "out")

    report = (tmp_path / "out" / REPORT).read_text()
    assert "&lt;script&gt;" in report
    assert "<script" not in report


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:100],
        lambda text: text.replace('"schema_version": 1', '"schema_version": 99'),
        lambda text: re.sub(r'"resamples": \d+', '"resamples": "many", "more": 1', text),
    ],
)
def test_a_file_that_is_no_evaluation_is_a_named_error(
    measured: Measured, tmp_path: Path, spoil: Callable[[str], str]
) -> None:
    """Cut short, of another version, or with keys that nobody knows."""
    path = tmp_path / NUMBERS
    path.write_text(spoil((measured.folder / NUMBERS).read_text()))

    with pytest.raises(EvaluationError, match=re.escape(str(path))):
        read_evaluation(path)


def test_the_terminal_shows_the_scores_that_people_ask_for(measured: Measured) -> None:
    """With intervals, and what the images were."""
    shown = describe(measured.evaluation)

    for words in (
        "BMA",
        "with none",
        "macro AUROC",
        "ECE",
        "conformal",
        "blocks",
        "MEL",
        "other data than the model's",
    ):
        assert words in shown
    assert str(measured.evaluation.headline.bma) in shown
