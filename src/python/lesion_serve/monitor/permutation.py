"""Permutation tests of two samples, many statistics at once, with one stated rate of false alarms over all of them.

Where window and reference come from the same source, which image belongs to which of the two is a matter of chance. So
membership is drawn again and again, and every statistic is computed for every draw, the true one among them. All
statistics see the same draws: the smallest of their p-values has a distribution of its own, which says how small a
p-value has to be so that *any* of them is that small in one of a hundred reports only. That holds whatever the number
of images, however the statistics depend on each other, and without a table for any of them.

Source: Westfall & Young 1993, single-step minP; Phipson & Smyth 2010 (the true draw counts as one).
"""

# N pooled images, reference and window · R draws, the true one first · S statistics

from __future__ import annotations

from collections.abc import Mapping

import attrs
import numpy as np
from numpy.typing import NDArray

Members = NDArray[np.float32]  # (N, R): 1 where the image belongs to the window
Values = NDArray[np.float64]  # (R,): a statistic in each draw; larger is further apart


@attrs.frozen(kw_only=True)
class Verdict:
    """One statistic beside what chance makes of it.

    Attributes:
        value: in the true window.
        p_value: of it alone.
        threshold: from where on it is an alarm; ``None`` where there are too few draws for any.
        is_alarm: whether it is.
    """

    value: float
    p_value: float
    threshold: float | None
    is_alarm: bool


def draw_members(reference: int, window: int, *, draws: int, seed: int) -> tuple[NDArray[np.int64], Members]:
    """Who belongs to the window, in truth and in each draw.

    Args:
        reference, window: how many images of each there are; together N.
        draws: R, the true one among them.
        seed: of the draws.
    Returns:
        An order of the pooled images, int64 ``(N,)``: the reference's rows come before the window's in the pool, and
        what sorts equal values by their place must not know that. And the members in this order.
    """
    random = np.random.default_rng(seed)
    total = reference + window
    order = random.permutation(total)
    members = np.zeros((total, draws), dtype=np.float32)
    members[:, 0] = order >= reference
    for draw in range(1, draws):
        members[random.permutation(total)[:window], draw] = 1
    return order, members


def judge(values: Mapping[str, Values], *, level: float) -> dict[str, Verdict]:
    """Which statistics are alarms, at a rate of false alarms over all of them of ``level`` at most.

    Args:
        values: of each statistic, the true draw first; all in the same draws.
        level: in (0, 1).
    """
    if not values:
        return {}
    p_values = np.stack([_p_values(one) for one in values.values()])
    smallest = np.sort(p_values.min(axis=0))
    draws = len(smallest)
    allowed = int(np.floor(level * draws))
    # The largest p-value that at most ``allowed`` draws reach; ties with the next one take it away as well.
    critical = smallest[allowed - 1] if allowed > 0 else -1.0
    while critical >= 0 and np.searchsorted(smallest, critical, side="right") > allowed:
        smaller = smallest[smallest < critical]
        critical = smaller[-1] if len(smaller) else -1.0
    verdicts = {}
    for (name, one), p in zip(values.items(), p_values, strict=True):
        alarming = one[p <= critical]
        threshold = None
        if critical > 0:  # where ties keep every draw from being one, only what lies above all of them is
            threshold = float(alarming.min() if len(alarming) else np.nextafter(one.max(), np.inf))
        verdicts[name] = Verdict(
            value=float(one[0]),
            p_value=float(p[0]),
            threshold=threshold,
            is_alarm=bool(p[0] <= critical),
        )
    return verdicts


def _p_values(values: Values) -> NDArray[np.float64]:
    """Of each draw among all draws: the share that is at least as large."""
    rounded = np.round(values, 6)  # what is equal may differ in the last bits of a sum
    smaller = np.searchsorted(np.sort(rounded), rounded, side="left")
    return np.asarray((len(values) - smaller) / len(values))


# --- statistics ------------------------------------------------------------------------------------------------------


def population_stability(classes: NDArray[np.integer], members: Members) -> Values:
    """PSI of the class mix; half an image is added to each class, so that an empty one is not infinitely far.

    Args:
        classes: int ``(N,)``.
        members: ``(N, R)``.
    """
    names, index = np.unique(classes, return_inverse=True)
    marked = np.zeros((len(names), len(classes)), dtype=np.float32)
    marked[index, np.arange(len(classes))] = 1
    window = (marked @ members).astype(np.float64)
    reference = marked.sum(axis=1, keepdims=True) - window
    shares = [(part + 0.5) / (part.sum(axis=0) + 0.5 * len(names)) for part in (window, reference)]
    return np.asarray(((shares[0] - shares[1]) * np.log(shares[0] / shares[1])).sum(axis=0))


def kolmogorov_smirnov(values: NDArray[np.floating], members: Members) -> Values:
    """Largest distance between the two distribution functions, in [0, 1].

    Args:
        values: float ``(N,)``; NaN, for what could not be measured, is a value of its own below all others.
        members: ``(N, R)``.
    """
    known = np.nan_to_num(values.astype(np.float64), nan=-np.inf)
    order = np.argsort(known, kind="stable")
    ascending = known[order]
    last = np.append(ascending[1:] != ascending[:-1], True)
    window = members[:, 0].sum()
    reference = len(members) - window
    # Distribution functions step by 1/window and 1/reference; compared where a run of equal values ends only.
    inside = np.cumsum(members[order], axis=0)[last]
    seen = (np.flatnonzero(last) + 1).astype(np.float32)[:, None]
    gap = inside * np.float32(1 / window + 1 / reference) - seen / np.float32(reference)
    return np.asarray(np.abs(gap).max(axis=0), dtype=np.float64)


def excess(flags: NDArray[np.bool_], members: Members) -> Values:
    """Share of flagged images in the window less that in the reference.

    Args:
        flags: bool ``(N,)``.
        members: ``(N, R)``.
    """
    window = members[:, 0].sum()
    marked = flags.astype(np.float32) @ members
    return np.asarray(marked / window - (flags.sum() - marked) / (len(flags) - window), dtype=np.float64)


def classifier_auc(features: NDArray[np.floating], members: Members, *, folds: int = 5, ridge: float = 10.0) -> Values:
    """How well a linear classifier tells window from reference on images that it was not fitted on: AUC, 0.5 by chance.

    The classifier is ridge regression on the membership, whose direction is that of the regularised linear
    discriminant. For given folds its answers are linear in the membership, so that one product of matrices fits all
    draws: thousands of cross-validated classifiers in a second, where as many logistic regressions take many minutes
    and score the same.

    Args:
        features: float ``(N, P)``.
        members: ``(N, R)``.
        folds: of the cross-validation.
        ridge: strength of the regularisation, on standardised features.
    Source: Lopez-Paz & Oquab 2017, "Revisiting Classifier Two-Sample Tests".
    """
    x = _standardised(features)
    parts = np.array_split(np.arange(len(x)), folds)  # rows are in random order already
    won, pairs = np.zeros(members.shape[1]), np.zeros(members.shape[1])
    for held_out in parts:
        fitted = np.setdiff1d(np.arange(len(x)), held_out)
        centre = x[fitted].mean(axis=0)
        known, asked = x[fitted] - centre, x[held_out] - centre
        solved = np.linalg.solve(known.T @ known + ridge * np.eye(x.shape[1]), known.T)
        target = members[fitted] - members[fitted].mean(axis=0)
        scores = (asked @ solved).astype(np.float32) @ target
        inside = np.take_along_axis(members[held_out], np.argsort(scores, axis=0, kind="stable"), axis=0)
        window = inside.sum(axis=0, dtype=np.float64)
        ranks = np.arange(1, len(held_out) + 1, dtype=np.float32) @ inside
        won += ranks - window * (window + 1) / 2
        pairs += window * (len(held_out) - window)
    return np.asarray(won / np.maximum(pairs, 1))


def mean_discrepancy(features: NDArray[np.floating], members: Members) -> Values:
    """Maximum mean discrepancy with a Gaussian kernel as wide as the median distance; at least 0.

    Args:
        features: float ``(N, P)``.
        members: ``(N, R)``.
    Source: Gretton et al. 2012, "A Kernel Two-Sample Test".
    """
    x = np.asarray(features, dtype=np.float64)
    length = (x**2).sum(axis=1)
    squared = np.maximum(length[:, None] + length[None] - 2 * x @ x.T, 0.0)
    median = float(np.median(squared[np.triu_indices(len(x), 1)]))
    kernel = np.exp(-squared / max(median, 1e-12)).astype(np.float32)
    window = members[:, 0].sum()
    weights = members / window - (1 - members) / (len(x) - window)
    return np.sqrt(np.maximum(np.einsum("nr,nr->r", weights, kernel @ weights, dtype=np.float64), 0.0))


def _standardised(features: NDArray[np.floating]) -> NDArray[np.float64]:
    x = np.asarray(features, dtype=np.float64)
    spread: NDArray[np.float64] = x.std(axis=0)
    return (x - x.mean(axis=0)) / np.maximum(spread, 1e-12)
