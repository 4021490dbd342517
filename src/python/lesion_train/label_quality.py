"""Which labels are likely wrong, by what models say of images that they were not trained on: confident learning.

Our own few lines, since cleanlab, the well-known library for it, is under the AGPL.
"""

# N images · K trained classes

from __future__ import annotations

import csv
from pathlib import Path

import attrs
import numpy as np

from lesion_train.predictions import Predictions


@attrs.frozen(kw_only=True)
class LabelIssue:
    """An image whose label a model does not believe.

    Attributes:
        isic_id: of the image.
        lesion_id: of its lesion; issues of one lesion are one question.
        label: code that it has.
        suggested: code that the model is confident of.
        label_probability, suggested_probability: out-of-fold, in [0, 1].
    """

    isic_id: str
    lesion_id: str
    label: str
    suggested: str
    label_probability: float
    suggested_probability: float

    @property
    def margin(self) -> float:
        """How much more the model believes its own answer, in [-1, 1]."""
        return self.suggested_probability - self.label_probability


def find_label_issues(predictions: Predictions) -> list[LabelIssue]:
    """Images that count as confident examples of another class than their label's, the surest first.

    A class's threshold is the mean probability that its own images get for it; an image is a confident example of the
    most probable class among those whose threshold it reaches. So a class that the model is unsure of in general needs
    less, and rare classes are not named wrong for being rare.

    Args:
        predictions: out-of-fold, or of a part that nothing was fitted on: a model believes what it was trained on.
    Source: Northcutt, Jiang & Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels", eq. 1 and 2;
        ranked by margin as their section 3.2.
    """
    probabilities, labels = predictions.probabilities, predictions.labels
    thresholds = np.full(probabilities.shape[1], np.inf)
    for label in np.unique(labels):
        thresholds[label] = probabilities[labels == label, label].mean()
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    best = confident.argmax(axis=1)
    rows = np.flatnonzero((confident.max(axis=1) >= 0) & (best != labels))
    issues = [
        LabelIssue(
            isic_id=str(predictions.isic_ids[row]),
            lesion_id=str(predictions.lesions[row]),
            label=predictions.codes[labels[row]],
            suggested=predictions.codes[best[row]],
            label_probability=float(probabilities[row, labels[row]]),
            suggested_probability=float(probabilities[row, best[row]]),
        )
        for row in rows
    ]
    return sorted(issues, key=lambda issue: (-issue.margin, issue.isic_id))


def write_label_issues(issues: list[LabelIssue], path: Path) -> None:
    """As CSV, in the order given."""
    columns = [field.name for field in attrs.fields(LabelIssue)]
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*columns, "margin"])
        for issue in issues:
            writer.writerow([*(getattr(issue, column) for column in columns), issue.margin])


def describe_label_issues(issues: list[LabelIssue], images: int, *, shown: int = 10) -> str:
    """A few lines for a terminal."""
    pairs: dict[tuple[str, str], int] = {}
    for issue in issues:
        pairs[issue.label, issue.suggested] = pairs.get((issue.label, issue.suggested), 0) + 1
    common = sorted(pairs.items(), key=lambda item: -item[1])[:5]
    lines = [f"Labels to look at: {len(issues):,} of {images:,} images ({len(issues) / images:.1%})"]
    lines += [f"  {count:5,} labelled {label}, believed {suggested}" for (label, suggested), count in common]
    lines += [
        f"  - {issue.isic_id}: labelled {issue.label} ({issue.label_probability:.0%}), believed {issue.suggested} "
        f"({issue.suggested_probability:.0%})"
        for issue in issues[:shown]
    ]
    return "\n".join(lines)
