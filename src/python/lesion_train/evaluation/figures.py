"""The figures of the report: SVG, once for light and once for dark screens, with all glyphs inside."""

# N images · K trained classes

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from lesion_train.evaluation.part import AnsweredPart
from lesion_train.evaluation.values import ClassResult, CorruptionResult, Reliability, Robustness


@attrs.frozen(kw_only=True)
class Theme:
    """Colours of one kind of screen: text, ground, faint lines, an end of the colour map, and K curves."""

    text: str
    ground: str
    faint: str
    low: str
    high: str
    on_high: str
    accent: str
    second: str
    curves: str


# Curves: ColorBrewer's Dark2 and Set2, the same eight hues for light and for dark ground; the others: Okabe and Ito's.
LIGHT = Theme(
    text="#1c2126",
    ground="#ffffff",
    faint="#c9d0d6",
    low="#ffffff",
    high="#08519c",
    on_high="#ffffff",
    accent="#0072b2",
    second="#d55e00",
    curves="Dark2",
)
DARK = Theme(
    text="#e4e8ec",
    ground="none",
    faint="#4a535c",
    low="#171b1f",
    high="#7cc0f5",
    on_high="#0b0e11",
    accent="#56b4e9",
    second="#e69f00",
    curves="Set2",
)
_LINES = ("-", "--", ":", "-.")


@attrs.frozen(kw_only=True)
class Picture:
    """A figure as two data URIs, with what it shows in words for those who cannot see it."""

    light: str
    dark: str
    alt: str


def confusion_picture(confusion: Sequence[Sequence[int]], codes: Sequence[str]) -> Picture:
    """Which diagnosis (row) is called what (column): share of the row, and images."""
    counts = np.array(confusion)
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)

    def draw(axes: Axes, theme: Theme) -> None:
        texts = [
            [f"{share:.0%}\n{count}" for share, count in zip(*row, strict=True)]
            for row in zip(shares, counts, strict=True)
        ]
        _heat_map(axes, shares, texts, theme)
        names = [f"{code} ({total})" for code, total in zip(codes, counts.sum(axis=1).tolist(), strict=True)]
        axes.set(xticks=range(len(codes)), xticklabels=codes, yticks=range(len(codes)), yticklabels=names)
        axes.set(xlabel="answer", ylabel="diagnosis (images)")

    return _picture(draw, (5.6, 5.0), "Confusion matrix: share of each diagnosis that got each answer.")


def roc_picture(part: AnsweredPart, classes: Sequence[ClassResult]) -> Picture:
    """One-against-rest ROC curve of each class that occurs."""
    known = part.of_trained_classes()

    def draw(axes: Axes, theme: Theme) -> None:
        colours = matplotlib.colormaps[theme.curves].colors  # type: ignore[attr-defined]
        for index, result in enumerate(classes):
            is_class = known.labels == index
            if result.auroc is None:
                continue
            alarms, found, _ = roc_curve(is_class, known.probabilities[:, index])
            label = f"{result.code}  {result.auroc.value:.2f}"
            line, colour = _LINES[index % len(_LINES)], colours[index % len(colours)]
            axes.plot(alarms, found, label=label, linewidth=1.6, linestyle=line, color=colour)
        axes.plot([0, 1], [0, 1], linewidth=0.8, color=theme.faint)
        axes.axhline(0.8, linewidth=0.8, linestyle=":", color=theme.faint)
        axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        axes.set_aspect("equal")
        axes.legend(loc="lower right", title="AUROC", frameon=False)

    return _picture(draw, (5.0, 4.8), "ROC curve of each diagnosis against the others.")


def reliability_picture(before: Reliability, after: Reliability) -> Picture:
    """Observed accuracy against stated probability, before and after the temperature, and where the images are."""

    def draw(axes: Axes, theme: Theme) -> None:
        axes.plot([0, 1], [0, 1], linewidth=0.8, color=theme.faint)
        images = sum(row.count for row in after.bins)
        widths = [row.upper - row.lower for row in after.bins]
        heights = [row.count / images for row in after.bins]
        lowers = [row.lower for row in after.bins]
        axes.bar(lowers, heights, widths, align="edge", color=theme.faint, label="share of the images, after")
        for reliability, label, colour, marker in (
            (before, "before temperature", theme.second, "s"),
            (after, "after temperature", theme.accent, "o"),
        ):
            stated = [row.mean_probability for row in reliability.bins]
            observed = [row.observed for row in reliability.bins]
            axes.plot(stated, observed, marker=marker, markersize=4, linewidth=1.4, color=colour, label=label)
        axes.set(xlabel="probability of the answer", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
        axes.set_aspect("equal")
        axes.legend(loc="upper left", frameon=False)

    return _picture(draw, (5.0, 4.8), "Reliability: share of right answers at each stated probability.")


def classes_picture(classes: Sequence[ClassResult]) -> Picture:
    """Sensitivity and specificity of each class, with intervals."""

    def draw(axes: Axes, theme: Theme) -> None:
        rows = np.arange(len(classes))
        for name, shift, colour in (("sensitivity", -0.2, theme.accent), ("specificity", 0.2, theme.second)):
            for row, interval in zip(rows, (getattr(item, name) for item in classes), strict=True):
                if interval is None:
                    continue
                axes.barh(row + shift, interval.value, 0.36, color=colour, label=name if row == 0 else None)
                axes.plot([interval.low, interval.high], [row + shift] * 2, color=theme.text, linewidth=1.3)
        axes.set(yticks=rows, yticklabels=[f"{item.code} ({item.images})" for item in classes], xlim=(0, 1))
        axes.invert_yaxis()
        axes.set_xlabel("share; the line is the 95 % interval")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)

    return _picture(draw, (5.6, 0.5 * len(classes) + 1.2), "Sensitivity and specificity of each diagnosis.")


def robustness_picture(robustness: Robustness, metric: str, what: str) -> Picture:
    """A score for every corruption (row) and severity (column)."""
    names = list(dict.fromkeys(item.corruption for item in robustness.results))
    severities = [0, *sorted({item.severity for item in robustness.results})]
    found = {(item.corruption, item.severity): _value(item, metric) for item in robustness.results}
    clean = _value(robustness.clean, metric)
    table = np.array([[clean, *(found[name, severity] for severity in severities[1:])] for name in names])

    def draw(axes: Axes, theme: Theme) -> None:
        texts = [["–" if np.isnan(value) else f"{value:.2f}" for value in row] for row in table]
        _heat_map(axes, np.nan_to_num(table), texts, theme)
        columns = ["none", *(str(severity) for severity in severities[1:])]
        axes.set(xticks=range(len(columns)), xticklabels=columns, yticks=range(len(names)), yticklabels=names)
        axes.set_xlabel("severity")
        axes.set_title(what, fontsize=10, color=theme.text)

    return _picture(draw, (5.0, 0.3 * len(names) + 1.1), f"{what}, by corruption and severity.")


def learning_curves_picture(epochs: Sequence[Mapping[str, float]]) -> Picture:
    """Training loss over its first value, and BMA and macro AUROC on the validation part, by epoch."""
    numbers = [row["epoch"] for row in epochs]
    curves = (
        ("training loss, relative", [row["train_loss"] / epochs[0]["train_loss"] for row in epochs], ":", "s"),
        ("validation BMA", [row["val_bma"] for row in epochs], "-", "o"),
        ("validation macro AUROC", [row["val_macro_auroc"] for row in epochs], "--", "^"),
    )

    def draw(axes: Axes, theme: Theme) -> None:
        for (label, values, line, marker), colour in zip(curves, (theme.text, theme.second, theme.accent), strict=True):
            axes.plot(numbers, values, label=label, linestyle=line, marker=marker, markersize=4, color=colour)
        axes.set(xlabel="epoch", ylim=(0, None))
        axes.legend(loc="lower right", frameon=False)

    return _picture(draw, (6.4, 3.8), "Training loss and validation scores by epoch.")


def write_figure(picture: Picture, path: Path) -> None:
    """Write a figure as an SVG file, as it is for light screens."""
    path.write_bytes(base64.b64decode(picture.light.partition(",")[2]))


def _value(result: CorruptionResult, metric: str) -> float:
    interval = getattr(result, metric)
    return float("nan") if interval is None else interval.value


def _heat_map(axes: Axes, shares: NDArray[np.floating], texts: Sequence[Sequence[str]], theme: Theme) -> None:
    colours = LinearSegmentedColormap.from_list("shares", [theme.low, theme.high])
    axes.imshow(shares, cmap=colours, vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(*shares.shape):
        colour = theme.on_high if shares[row, column] > 0.5 else theme.text
        axes.text(column, row, texts[row][column], ha="center", va="center", color=colour, fontsize=8)
    axes.tick_params(length=0)


def _picture(draw: Callable[[Axes, Theme], None], size_inches: tuple[float, float], alt: str) -> Picture:
    light, dark = (_svg(draw, size_inches, theme) for theme in (LIGHT, DARK))
    return Picture(light=light, dark=dark, alt=alt)


def _svg(draw: Callable[[Axes, Theme], None], size_inches: tuple[float, float], theme: Theme) -> str:
    coloured = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "legend.labelcolor")
    settings: dict[Any, Any] = {
        **dict.fromkeys(coloured, theme.text),
        "axes.edgecolor": theme.faint,
        "axes.facecolor": "none",
        "font.size": 9,
        "svg.hashsalt": "lesion",  # equal numbers give equal bytes
    }
    stream = io.StringIO()
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=size_inches, layout="constrained", facecolor=theme.ground)
        draw(figure.subplots(), theme)
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(stream.getvalue().encode()).decode()}"
