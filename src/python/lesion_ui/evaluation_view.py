"""What the page shows of a version's evaluation: read with care, since another release may have other parts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from lesion_core.interval import Interval
from lesion_ui.texts import Texts
from lesion_ui.view import FEWEST_IMAGES


@attrs.frozen(kw_only=True)
class Bin:
    """One point of a reliability diagram: shares in [0, 1]."""

    lower: float
    upper: float
    predicted: float
    observed: float
    count: int


@attrs.frozen(kw_only=True)
class EvaluationView:
    """The parts of an evaluation that were there; a part that was not is empty or ``None``.

    ``codes`` are those of the confusion matrix, ``classes`` and ``subgroups`` rows of tables.
    """

    measured_on: str | None
    bins: tuple[Bin, ...]
    ece: Interval | None
    codes: tuple[str, ...]
    names: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    classes: tuple[dict[str, str], ...]
    subgroups: tuple[dict[str, str], ...]


def evaluation_view(content: Mapping[str, Any], texts: Texts) -> EvaluationView:
    """Read what ``evaluation.json`` of ``lesion-train evaluate`` has; anything else in its place counts as missing."""
    reliability = _mapping(content.get("after_temperature"))
    classes = [_mapping(one) for one in _rows(content.get("classes"))]
    codes = tuple(str(code) for code in _rows(content.get("codes")))
    names = {
        code: texts.diagnosis(code, name)
        for one in classes
        if isinstance(code := one.get("code"), str) and isinstance(name := one.get("name"), str)
    }
    confusion = _matrix(content.get("confusion"), len(codes))
    return EvaluationView(
        measured_on=_measured_on(_mapping(content.get("data")), texts),
        bins=tuple(one for row in _rows(reliability.get("bins")) if (one := _bin(_mapping(row))) is not None),
        ece=interval_of(reliability.get("ece")),
        codes=codes,
        names=tuple(names.get(code, code) for code in codes),
        confusion=confusion,
        classes=tuple(
            _class_row(one, names, _behind(str(one.get("code")), codes, confusion), texts) for one in classes
        ),
        subgroups=tuple(_subgroup_row(_mapping(one), texts) for one in _rows(content.get("subgroups"))),
    )


def interval_of(found: object) -> Interval | None:
    """A measured number, or ``None`` where there is none."""
    values = _mapping(found)
    numbers = [values.get(name) for name in ("value", "low", "high")]
    if not all(_is_number(one) for one in numbers):
        return None
    given = values.get("confidence")
    confidence = float(given) if given is not None and _is_number(given) else 0.95
    value, low, high = (float(one) for one in numbers if one is not None)
    return Interval(value=value, low=low, high=high, confidence=confidence)


def _measured_on(data: Mapping[str, Any], texts: Texts) -> str | None:
    if not {"dataset", "part", "images", "lesions"} <= set(data):
        return None
    return texts("models.measured_on", **{name: data[name] for name in ("dataset", "part", "images", "lesions")})


def _bin(row: Mapping[str, Any]) -> Bin | None:
    values = [row.get(name) for name in ("lower", "upper", "mean_probability", "observed", "count")]
    if not all(_is_number(one) for one in values):
        return None
    lower, upper, predicted, observed, count = (float(one) for one in values if one is not None)
    return Bin(lower=lower, upper=upper, predicted=predicted, observed=observed, count=int(count))


def _behind(code: str, codes: Sequence[str], confusion: Sequence[Sequence[int]]) -> dict[str, int]:
    """Images behind the predictive values of a class: those that were answered so, and those that were not."""
    if code not in codes or not confusion:
        return {}
    called = sum(row[codes.index(code)] for row in confusion)
    return {"ppv": called, "npv": sum(map(sum, confusion)) - called}


def _class_row(
    row: Mapping[str, Any], names: Mapping[str, str], behind: Mapping[str, int], texts: Texts
) -> dict[str, str]:
    """``behind``: images that a score was counted over, where that is known."""
    code = str(row.get("code"))
    scores = {name: interval_of(row.get(name)) for name in ("sensitivity", "specificity", "ppv", "npv", "auroc")}
    too_few = {name for name, images in behind.items() if images < FEWEST_IMAGES}
    return {
        texts("models.true_class"): f"{names.get(code, code)} ({code})",
        texts("models.images"): _count(row.get("images")),
        texts("models.lesions"): _count(row.get("lesions")),
        **{
            texts(f"models.{name}"): texts("monitor.too_few") if name in too_few else texts.interval(one)
            for name, one in scores.items()
        },
    }


def _subgroup_row(row: Mapping[str, Any], texts: Texts) -> dict[str, str]:
    scores = {name: interval_of(row.get(name)) for name in ("bma", "macro_auroc", "sensitivity", "specificity")}
    return {
        texts("models.grouping"): str(row.get("grouping", "–")),
        texts("models.group"): str(row.get("group", "–")),
        texts("models.images"): _count(row.get("images")),
        texts("models.lesions"): _count(row.get("lesions")),
        "BMA": texts.interval(scores["bma"]),
        "AUROC": texts.interval(scores["macro_auroc"]),
        texts("models.sensitivity"): texts.interval(scores["sensitivity"]),
        texts("models.specificity"): texts.interval(scores["specificity"]),
    }


def _matrix(found: object, size: int) -> tuple[tuple[int, ...], ...]:
    rows = tuple(tuple(int(cell) for cell in _rows(row) if _is_number(cell)) for row in _rows(found))
    return rows if size and len(rows) == size and all(len(row) == size for row in rows) else ()


def _mapping(found: object) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}


def _rows(found: object) -> list[Any]:
    return found if isinstance(found, list) else []


def _is_number(found: object) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found)


def _count(found: object) -> str:
    return str(found) if _is_number(found) else "–"
