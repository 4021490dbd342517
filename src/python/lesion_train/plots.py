"""Plots of a run, as PNG files beside its numbers."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np

from lesion_core.metrics import Labels, Probabilities
from lesion_core.reliability import reliability_table
from lesion_core.taxonomy import Taxonomy

matplotlib.use("Agg")

from matplotlib.figure import Figure


def plot_learning_curves(epochs: list[dict[str, float]], path: Path) -> None:
    """Training loss, and BMA and macro AUROC on the validation part, per epoch."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    numbers = [row["epoch"] for row in epochs]
    left.plot(numbers, [row["train_loss"] for row in epochs], marker="o", color="#0072B2")
    left.set(xlabel="epoch", ylabel="training loss")
    for name, label, colour in (("val_bma", "BMA", "#D55E00"), ("val_macro_auroc", "macro AUROC", "#009E73")):
        right.plot(numbers, [row[name] for row in epochs], marker="o", label=label, color=colour)
    right.set(xlabel="epoch", ylabel="validation part", ylim=(0, 1))
    right.legend(loc="lower right")
    figure.savefig(path, dpi=110)


def plot_confusion(probabilities: Probabilities, labels: Labels, taxonomy: Taxonomy, path: Path) -> None:
    """Row-normalised confusion matrix: which diagnosis (row) is called what (column), in per cent."""
    codes = taxonomy.trained_codes
    counts = np.zeros((len(codes), len(codes)))
    np.add.at(counts, (labels, probabilities.argmax(axis=1)), 1)
    shares = 100 * counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    figure = Figure(figsize=(5.4, 5), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for row, column in np.ndindex(*shares.shape):
        colour = "white" if shares[row, column] > 55 else "black"
        axes.text(column, row, f"{shares[row, column]:.0f}", ha="center", va="center", color=colour, fontsize=8)
    names = [f"{code} ({int(total)})" for code, total in zip(codes, counts.sum(axis=1), strict=True)]
    axes.set(xticks=range(len(codes)), xticklabels=codes, yticks=range(len(codes)), yticklabels=names)
    axes.set(xlabel="predicted", ylabel="true (images)", title="Confusion, % of the true class")
    figure.savefig(path, dpi=110)


def plot_roc(probabilities: Probabilities, labels: Labels, taxonomy: Taxonomy, path: Path) -> None:
    """One-against-rest ROC curve of each class."""
    figure = Figure(figsize=(5.4, 5), layout="constrained")
    axes = figure.subplots()
    for index in sorted(set(labels.tolist())):
        is_positive = (labels == index)[np.argsort(-probabilities[:, index], kind="stable")]
        hits = np.concatenate([[0], is_positive.cumsum() / is_positive.sum()])
        false_alarms = np.concatenate([[0], (~is_positive).cumsum() / max(1, (~is_positive).sum())])
        axes.plot(false_alarms, hits, label=taxonomy.trained_codes[index], linewidth=1.3)
    axes.plot([0, 1], [0, 1], linestyle=":", color="grey")
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", title="One against rest")
    axes.legend(loc="lower right", fontsize=8)
    figure.savefig(path, dpi=110)


def plot_reliability(probabilities: Probabilities, labels: Labels, path: Path, *, bins: int = 10) -> None:
    """Observed accuracy against stated confidence; the diagonal is perfect calibration."""
    confidence, is_right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    table = reliability_table(confidence, is_right, bins=bins)
    figure = Figure(figsize=(5, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], linestyle=":", color="grey")
    axes.plot(
        [row.mean_probability for row in table],
        [row.observed for row in table],
        marker="o",
        color="#0072B2",
    )
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), title="Reliability")
    figure.savefig(path, dpi=110)
