"""The tables of a model card, as Markdown: every row has as many cells as the header."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from lesion_core.bundle import BundleManifest
from lesion_core.decision.parameters import TriageBand
from lesion_core.decision.triage import malignant_share
from lesion_core.interval import Interval
from lesion_core.records import ImageRecord, lesions_of
from lesion_core.splits import TEST, TRAIN, VALIDATION, Split
from lesion_core.subgroups import FEWEST_LESIONS, groupings
from lesion_core.taxonomy import Taxonomy
from lesion_train.evaluation.groups import FEWEST_IN_A_SHARE, youngest_first
from lesion_train.evaluation.values import Evaluation, SubgroupResult

NOTHING = "–"
TOO_FEW = "too few lesions"
PARTS = {TRAIN: "training", VALIDATION: "validation", TEST: "test"}
PREVALENCES = (0.10, 0.01)

# What the names of ``TrainingFacts.metrics`` mean, without the part that they start with.
METRICS = {
    "bma": "Balanced multiclass accuracy ({classes} classes)",
    "bma_with_none": "Balanced multiclass accuracy with *none of the above* as one more answer",
    "macro_auroc": "Macro AUROC: each diagnosis against the others",
    "ece": "Expected calibration error (0 is best)",
}
_SENSITIVITY = "sensitivity_"  # of one diagnosis: in ``diagnoses``


class Markdown(str):
    """Text that is Markdown already."""


def plain(value: object) -> str:
    """A value as text in which no character means anything to Markdown; a dash for ``None`` and NaN."""
    if isinstance(value, Markdown):
        return value
    if value is None or value != value:
        return NOTHING
    return re.sub(r"([\\`*|\[\]]|<(?=[A-Za-z/!?]))", r"\\\1", " ".join(str(value).splitlines()))


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Markdown:
    """A table.

    Raises:
        ValueError: a row has another number of cells than the header.
    """
    lines = [header, ["---"] * len(header), *rows]
    text = [f"| {' | '.join(cells)} |" for cells in ([plain(cell) for cell in line] for line in lines)]
    if any(len(line) != len(header) for line in lines):
        raise ValueError(f"a row of the table {', '.join(header)} has not {len(header)} cells")
    return Markdown("\n".join(text))


def shown(interval: Interval | None) -> str:
    """``0.812 (0.741–0.880)``; a dash for what could not be measured."""
    return NOTHING if interval is None else f"{interval.value:.3f} ({interval.low:.3f}–{interval.high:.3f})"


def share(interval: Interval | None) -> str:
    """``81 % (74–88)``, for sentences."""
    if interval is None:
        return NOTHING
    return f"{100 * interval.value:.0f} % ({100 * interval.low:.0f}–{100 * interval.high:.0f})"


def counts(split: Split, taxonomy: Taxonomy) -> Markdown:
    """Images (lesions) of each diagnosis in each part."""
    occurring = {record.diagnosis for part in split.parts.values() for record in part}
    listed = [d for d in taxonomy.diagnoses if d.code in occurring or d in taxonomy.trained]
    rows = [[f"{d.code}: {d.name}", *(_counted(part, d.code) for part in split.parts.values())] for d in listed]
    rows.append(["all", *(_counted(part) for part in split.parts.values())])
    return table(["images (lesions)", *(PARTS[part] for part in split.parts)], rows)


def _counted(records: Sequence[ImageRecord], code: str | None = None) -> str:
    wanted = [record for record in records if code in (None, record.diagnosis)]
    return f"{len(wanted):,} ({len(np.unique(lesions_of(wanted))):,})"


def people(split: Split) -> Markdown:
    """Share of each part's images by sex, age, site and source."""
    of_parts = [groupings(part) for part in split.parts.values()]
    rows = []
    for grouping in of_parts[0]:
        columns = [groups[grouping] for groups in of_parts]
        for name in sorted(set(np.concatenate(columns).tolist()), key=youngest_first):
            rows.append([f"{grouping}: {name}", *(f"{(column == name).mean():.1%}" for column in columns)])
    return table(["share of images", *(PARTS[part] for part in split.parts)], rows)


def headline(metrics: Mapping[str, Interval], parts: Sequence[str], classes: int) -> Markdown:
    """Every metric of a manifest but the sensitivities, by human name; one column for each part."""
    by_name: dict[str, dict[str, Interval]] = {}
    for key, interval in metrics.items():
        part = TEST if key.startswith("test_") else VALIDATION
        name = key.removeprefix("test_").removeprefix("val_")
        if not name.startswith(_SENSITIVITY):
            by_name.setdefault(name, {})[part] = interval
    order = [*(name for name in METRICS if name in by_name), *sorted(by_name.keys() - METRICS.keys())]
    rows = [
        [
            Markdown(METRICS[name].format(classes=classes)) if name in METRICS else name.replace("_", " "),
            *(shown(by_name[name].get(part)) for part in parts),
        ]
        for name in order
    ]
    return table(["metric", *(f"{PARTS[part]} part" for part in parts)], rows)


def diagnoses(evaluation: Evaluation) -> Markdown:
    """Each diagnosis against the others."""
    return table(
        ["diagnosis", "images", "lesions", "sensitivity", "specificity", "AUROC"],
        [
            [
                f"{item.code}: {item.name}",
                item.images,
                item.lesions,
                *map(shown, (item.sensitivity, item.specificity, item.auroc)),
            ]
            for item in evaluation.classes
        ],
    )


def groups(evaluation: Evaluation) -> Markdown:
    """Scores of each group of patients; those with too few lesions are said to have too few."""

    def cell(interval: Interval | None, item: SubgroupResult, counted: int, fewest: int) -> str:
        is_small = item.lesions < FEWEST_LESIONS or counted < fewest
        return TOO_FEW if interval is None and is_small else shown(interval)

    rows = [
        [
            f"{item.grouping}: {item.group}",
            item.images,
            item.lesions,
            item.malignant_lesions,
            cell(item.bma, item, item.lesions, FEWEST_LESIONS),
            cell(item.macro_auroc, item, item.lesions, FEWEST_LESIONS),
            cell(item.sensitivity, item, item.malignant_lesions, FEWEST_IN_A_SHARE),
            cell(item.specificity, item, item.lesions - item.malignant_lesions, FEWEST_IN_A_SHARE),
        ]
        for item in evaluation.subgroups
    ]
    header = ["group", "images", "lesions", "malignant lesions", "balanced accuracy", "macro AUROC"]
    return table([*header, "malignant found", "others left alone"], rows)


def calibration(evaluations: Mapping[str, Evaluation]) -> Markdown:
    """How far probabilities are off, before and after the temperature."""
    rows = []
    for part, evaluation in evaluations.items():
        for when, found in (("before", evaluation.before_temperature), ("after", evaluation.after_temperature)):
            scores = (found.ece, found.classwise_ece, found.log_loss, found.brier)
            rows.append([f"{PARTS[part]}, {when}", *map(shown, scores)])
    header = ["part, temperature", "expected calibration error", "the same, mean of all classes"]
    return table([*header, "log loss", "Brier score"], rows)


def conformal_sets(manifest: BundleManifest, reported: Evaluation) -> Markdown:
    """Coverage of each diagnosis: cross-fitted where the sets were set, and on a test part."""
    part, parameters = reported.data.part, manifest.decision.conformal
    rows = [
        [
            item.code,
            shown(parameters.measured.get(item.code)),
            *([shown(item.coverage)] if part == TEST else []),
            shown(item.set_size),
            "always a member" if quantile >= 1 else "",
        ]
        for item, quantile in zip(reported.classes, parameters.quantiles, strict=True)
    ]
    header = ["diagnosis", "coverage, cross-fitted", *(["coverage, test"] if part == TEST else [])]
    return table([*header, f"diagnoses a set, {part}", "note"], rows)


def operating_points(manifest: BundleManifest, reported: Evaluation) -> Markdown:
    """What each threshold was set for, had where it was set, and has on a test part."""
    header = ["probability of", "set for sensitivity", "threshold", "sensitivity when set", "specificity when set"]
    rows = [
        [
            point.target,
            f"{point.wanted_sensitivity:.0%}",
            shown(point.threshold),
            shown(point.sensitivity),
            shown(point.specificity),
        ]
        for point in manifest.decision.operating_points
    ]
    if reported.data.part == TEST:
        header += ["sensitivity, test", "specificity, test"]
        measured = [[shown(here.sensitivity), shown(here.specificity)] for here in reported.operating_points]
        rows = [[*row, *here] for row, here in zip(rows, measured, strict=True)]
    return table(header, rows)


def triage(manifest: BundleManifest, reported: Evaluation) -> Markdown:
    """Who is in each band, and how many of them are malignant, also at other prevalences; and on a test part."""
    bands = manifest.decision.triage
    at = [f"malignant if {prevalence:.0%} of all are" for prevalence in PREVALENCES]
    header = ["band", "risk from", "malignant, validation", "share", *at]
    rows = [
        [
            band.name,
            f"{band.lower:.4f}",
            f"{band.malignant} of {band.malignant + band.not_malignant}",
            *_shares(band, bands),
        ]
        for band in bands
    ]
    if reported.data.part == TEST:
        header += ["malignant, test", "of all malignant, test"]
        measured = [
            [f"{here.malignant} of {here.malignant + here.not_malignant}", shown(here.share_of_malignant)]
            for here in reported.triage
        ]
        rows = [[*row, *here] for row, here in zip(rows, measured, strict=True)]
    return table(header, rows)


def strange_images(evaluations: Mapping[str, Evaluation]) -> Markdown:
    """How many images that the model should know are called strange, and how many of those that it should not."""
    rows: list[list[object]] = []
    for part, evaluation in evaluations.items():
        outside = evaluation.outside
        images = sum(item.images for item in evaluation.classes)
        rows.append([f"{PARTS[part]} part (wrongly)", images, shown(outside.called_outside), NOTHING])
        rows += [
            [group.name, group.images, shown(group.called_outside), shown(group.auroc)] for group in outside.groups
        ]
    return table(["images", "number", "called strange", "AUROC against the part"], rows)


def _shares(band: TriageBand, bands: Sequence[TriageBand]) -> list[str]:
    found = [malignant_share(band, bands, prevalence=prevalence) for prevalence in (None, *PREVALENCES)]
    return [NOTHING if np.isnan(share) else f"{share:.1%}" for share in found]
