"""The content of ``evaluation.json``: everything that the report shows, as plain values.

A number that could not be measured (no image of a class, a group too small) is ``null``. Shares are in [0, 1].
"""

# K trained classes

from __future__ import annotations

import json
from pathlib import Path

import attrs
import cattrs

from lesion_core.interval import Interval
from lesion_core.reliability import ReliabilityBin
from lesion_train.evaluation.choice import Role
from lesion_train.evaluation.errors import EvaluationError

SCHEMA_VERSION = 1
REPORT, NUMBERS = "report.html", "evaluation.json"


@attrs.frozen(kw_only=True)
class ModelFacts:
    """Which bundle was measured. ``digest`` is that of the bundle, ``None`` where it was not written yet."""

    name: str
    digest: str | None
    backbone: str
    created_at: str
    trained_on: str
    data_digest: str
    train_images: int
    validation_images: int


@attrs.frozen(kw_only=True)
class DataFacts:
    """Which images it was measured on.

    Attributes:
        dataset: layout and name of the folder.
        part: of the split; ``all`` without one.
        role: what the images were to the model.
        data_digest: of the whole data set; ``None`` where nobody took it.
        split_digest: ``None`` without a split.
        images: that were measured; of ``lesions`` lesions.
        none_of_the_above: images among them that are labelled so.
        left_out: images that the model's run had in its split, by image, lesion or patient.
        is_history_known: whether there was that split to look them up in; a bundle that was fetched has none beside it.
        dataset_images: of the whole data set, also those that were not measured; ``None`` where nobody counted them.
    """

    dataset: str
    part: str
    role: Role
    data_digest: str | None
    split_digest: str | None
    images: int
    lesions: int
    none_of_the_above: int
    left_out: int
    is_history_known: bool = True  # in evaluations of earlier releases nobody asked
    dataset_images: int | None = None


@attrs.frozen(kw_only=True)
class Headline:
    """Scores of all images. Those over the trained classes leave images of *none of the above* out.

    ``bma_with_none`` takes *none of the above* as one more answer; ``macro_*`` is the mean over the classes that occur.
    """

    bma: Interval | None
    bma_with_none: Interval | None
    macro_auroc: Interval | None
    macro_auroc_above_80: Interval | None
    accuracy: Interval | None


@attrs.frozen(kw_only=True)
class Reliability:
    """Whether probabilities come true, at one temperature.

    ``ece`` looks at the largest probability of each image, ``classwise_ece`` at the probability of every class;
    ``log_loss`` and ``brier`` are means over the images.
    """

    temperature: float
    ece: Interval | None
    log_loss: Interval | None
    brier: Interval | None
    bins: tuple[ReliabilityBin, ...]
    classwise_ece: Interval | None = None  # of evaluations that were written before it was measured


@attrs.frozen(kw_only=True)
class ClassResult:
    """One trained class against the rest; the answer is the most probable trained class.

    Attributes:
        auroc_above_80: area under the ROC curve from 80 % sensitivity on, as the ISIC 2019 challenge takes it: 1 is
            best, 0.18 is chance.
        coverage: share of its images whose conformal set holds it.
        set_size: mean size of these sets, in [1, K].
    """

    code: str
    name: str
    images: int
    lesions: int
    sensitivity: Interval | None
    specificity: Interval | None
    ppv: Interval | None
    npv: Interval | None
    auroc: Interval | None
    auroc_above_80: Interval | None
    coverage: Interval | None
    set_size: Interval | None


@attrs.frozen(kw_only=True)
class ConformalResult:
    """The conformal sets of all images of trained classes. ``promised`` is the coverage of each class."""

    promised: float
    coverage: Interval | None
    set_size: Interval | None
    sets_of_one: Interval | None


@attrs.frozen(kw_only=True)
class OperatingResult:
    """A bundle's operating point on these images, beside what it was set for and had where it was set."""

    target: str
    threshold: float
    wanted_sensitivity: float
    sensitivity_when_set: float
    specificity_when_set: float
    targets: int
    sensitivity: Interval | None
    specificity: Interval | None
    ppv: Interval | None
    npv: Interval | None


@attrs.frozen(kw_only=True)
class BandResult:
    """A triage band: who is in it. ``malignant_when_set`` is the share malignant where the bands were set."""

    name: str
    lower: float
    malignant: int
    not_malignant: int
    share_of_images: Interval | None
    share_of_malignant: Interval | None
    share_malignant: Interval | None
    malignant_when_set: float | None


@attrs.frozen(kw_only=True)
class DecisionResult:
    """Whether the parameters for images that come with age, sex or site keep what they promised.

    ``coverage`` is that of each of the K classes, as in ``ClassResult``; ``reliability`` is at their temperature.
    """

    reliability: Reliability
    conformal: ConformalResult
    coverage: tuple[Interval | None, ...]
    operating_points: tuple[OperatingResult, ...]
    triage: tuple[BandResult, ...]


@attrs.frozen(kw_only=True)
class OutsideGroup:
    """Images that are none of the trained classes: how well they are told from the measured part."""

    name: str
    images: int
    auroc: Interval | None
    called_outside: Interval | None


@attrs.frozen(kw_only=True)
class OutsideResult:
    """The detector of strange images. ``called_outside`` is the share of the measured part, wrongly called so."""

    detector: str
    threshold: float
    called_outside_when_set: float
    called_outside: Interval | None
    groups: tuple[OutsideGroup, ...]


@attrs.frozen(kw_only=True)
class SubgroupResult:
    """One group of patients. Scores are ``None`` where too few lesions stand behind them."""

    grouping: str
    group: str
    images: int
    lesions: int
    malignant_lesions: int
    macro_auroc: Interval | None
    bma: Interval | None
    sensitivity: Interval | None
    specificity: Interval | None


@attrs.frozen(kw_only=True)
class CorruptionResult:
    """One corruption at one severity, 1 to 5. ``sensitivity`` is for malignant lesions, at the operating point."""

    corruption: str
    severity: int
    bma: Interval | None
    sensitivity: Interval | None
    called_outside: Interval | None


@attrs.frozen(kw_only=True)
class Robustness:
    """Scores on corrupted images.

    Attributes:
        clean: on the images as they are; its severity is 0.
        results: every corruption at every severity.
        relative_bma: mean over all of them of BMA over the clean BMA; 1 means that nothing was lost.
    """

    clean: CorruptionResult
    results: tuple[CorruptionResult, ...]
    relative_bma: float | None


@attrs.frozen(kw_only=True)
class Mistake:
    """An image that was answered wrongly. ``true_probability`` is what its own diagnosis got."""

    image: str
    true: str
    predicted: str
    probability: float
    true_probability: float
    risk: float


@attrs.frozen(kw_only=True)
class Evaluation:
    """One bundle, measured on one part of one data set.

    Attributes:
        codes: of the K trained classes.
        confusion: images by true class (row) and answer (column), K × K.
        with_metadata: scores with age, sex and site as a second input, where bundle and data have them.
        decision_with_metadata: what the bundle's parameters for that second input come to, in the same cases.
        mistakes: the wrong answers that were given with the highest probability.
        missed: malignant images in the low triage band (below the operating point), those of lowest risk first.
    """

    model: ModelFacts
    data: DataFacts
    created_at: str
    resamples: int
    codes: tuple[str, ...]
    headline: Headline
    with_metadata: Headline | None
    before_temperature: Reliability
    after_temperature: Reliability
    classes: tuple[ClassResult, ...]
    confusion: tuple[tuple[int, ...], ...]
    conformal: ConformalResult
    operating_points: tuple[OperatingResult, ...]
    triage: tuple[BandResult, ...]
    outside: OutsideResult
    subgroups: tuple[SubgroupResult, ...]
    robustness: Robustness | None
    mistakes: tuple[Mistake, ...]
    missed: tuple[Mistake, ...]
    decision_with_metadata: DecisionResult | None = None  # of evaluations that were written before it was measured
    schema_version: int = SCHEMA_VERSION

    def operating_result(self, target: str) -> OperatingResult | None:
        """That of a class's code or of ``triage.MALIGNANT``, where the bundle has such an operating point."""
        return next((result for result in self.operating_points if result.target == target), None)


_converter = cattrs.Converter(forbid_extra_keys=True)


def to_json(evaluation: Evaluation) -> str:
    """The text of ``evaluation.json``; equal evaluations give equal text."""
    return json.dumps(_converter.unstructure(evaluation), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_evaluation(path: Path) -> Evaluation:
    """Read what ``to_json`` wrote.

    Raises:
        EvaluationError: it is not an evaluation, or of another schema version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["schema_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvaluationError(f"{path} is not an evaluation: {error}.") from error
    if version != SCHEMA_VERSION:
        raise EvaluationError(f"{path} has schema version {version!r}; this release reads {SCHEMA_VERSION}.")
    try:
        return _converter.structure(content, Evaluation)
    except Exception as error:
        raise EvaluationError(f"{path}: {'; '.join(cattrs.transform_error(error))}.") from error
