"""Each loss against its own formula, written slowly, and against what it has to equal at the edges."""

# N images · K trained classes

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lesion_core.metrics import balanced_multiclass_accuracy
from lesion_train.config import Imbalance
from lesion_train.losses import (
    DEFERRED_SHARE,
    EFFECTIVE_NUMBER_BETA,
    LARGEST_MARGIN,
    ImbalanceLoss,
    class_counts,
    class_weights,
    effective_number_weights,
    ldam_margins,
    log_prior_shift,
    make_loss,
)

COUNTS = np.array([12875, 4522, 3323, 867, 239, 2624, 253, 628])  # ISIC 2019: NV, MEL, BCC, AK, DF, BKL, VASC, SCC
BALANCE = 0.7
BATCHES = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 12), st.sampled_from([0.1, 3.0, 30.0]))


def batch(drawn: tuple[int, int, float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits float32 ``(N, 8)`` of some scale and labels int64 ``(N,)``."""
    seed, images, scale = drawn
    random = np.random.default_rng(seed)
    logits = random.normal(0, scale, (images, len(COUNTS))).astype(np.float32)
    return torch.from_numpy(logits), torch.from_numpy(random.integers(0, len(COUNTS), images))


def weight(imbalance: Imbalance, count: int) -> float:
    if imbalance in (Imbalance.WEIGHTED, Imbalance.FOCAL):
        return float(count**-BALANCE)
    if imbalance in (Imbalance.CLASS_BALANCED, Imbalance.LDAM_DRW):
        return float((1 - EFFECTIVE_NUMBER_BETA) / (1 - EFFECTIVE_NUMBER_BETA**count))
    return 1.0


def slow_loss(imbalance: Imbalance, logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Image by image and class by class, from the papers' formulas for hard labels, in double precision."""
    rarest = min(COUNTS)
    total = norm = 0.0
    for row, label in zip(logits.double().tolist(), labels.tolist(), strict=True):
        if imbalance == Imbalance.LDAM_DRW:
            row[label] -= LARGEST_MARGIN * (rarest / COUNTS[label]) ** 0.25
        if imbalance == Imbalance.LOGIT_ADJUSTMENT:
            row = [z + math.log(count / sum(COUNTS)) for z, count in zip(row, COUNTS, strict=True)]
        top = max(row)
        log_p = row[label] - top - math.log(sum(math.exp(z - top) for z in row))
        loss = -log_p * ((1 - math.exp(log_p)) ** 2 if imbalance == Imbalance.FOCAL else 1)
        total += weight(imbalance, int(COUNTS[label])) * loss
        norm += weight(imbalance, int(COUNTS[label]))
    return total / norm


@pytest.mark.parametrize("imbalance", Imbalance)
@given(drawn=BATCHES)
def test_a_loss_is_its_paper_s_formula(imbalance: Imbalance, drawn: tuple[int, int, float]) -> None:
    """For hard labels, at any scale of the logits."""
    logits, labels = batch(drawn)

    loss = make_loss(imbalance, COUNTS, balance=BALANCE)(logits, labels)

    assert loss.item() == pytest.approx(slow_loss(imbalance, logits, labels), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.05])
@given(drawn=BATCHES)
def test_weighted_is_torch_s_own_cross_entropy(smoothing: float, drawn: tuple[int, int, float]) -> None:
    """With its weights and its label smoothing."""
    logits, labels = batch(drawn)
    weights = class_weights(COUNTS, BALANCE)

    loss = make_loss(Imbalance.WEIGHTED, COUNTS, balance=BALANCE, label_smoothing=smoothing)(logits, labels)

    expected = torch.nn.functional.cross_entropy(logits, labels, weight=weights, label_smoothing=smoothing)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("imbalance", Imbalance)
@given(drawn=BATCHES)
def test_hard_labels_are_soft_targets_of_one(imbalance: Imbalance, drawn: tuple[int, int, float]) -> None:
    """So that mixing by a share of 0 changes nothing."""
    logits, labels = batch(drawn)
    loss_of = make_loss(imbalance, COUNTS, balance=BALANCE, label_smoothing=0.05)

    assert torch.equal(loss_of(logits, labels), loss_of(logits, torch.nn.functional.one_hot(labels, len(COUNTS))))


@given(drawn=BATCHES, share=st.floats(0, 1))
def test_unweighted_loss_of_mixed_targets_is_the_mixture_of_losses(drawn: tuple[int, int, float], share: float) -> None:
    """As mixup defines it (Zhang et al. 2018)."""
    logits, labels = batch(drawn)
    one, other = (torch.nn.functional.one_hot(t, len(COUNTS)).float() for t in (labels, labels.flip(0)))
    loss_of = make_loss(Imbalance.NONE, COUNTS, balance=BALANCE, label_smoothing=0.05)

    mixed = loss_of(logits, share * one + (1 - share) * other)

    torch.testing.assert_close(mixed, share * loss_of(logits, one) + (1 - share) * loss_of(logits, other))


@given(drawn=BATCHES)
def test_focal_at_gamma_0_is_weighted_cross_entropy(drawn: tuple[int, int, float]) -> None:
    """And at 2 it is never larger: every factor is at most 1."""
    logits, labels = batch(drawn)
    weights = class_weights(COUNTS, BALANCE)

    weighted = ImbalanceLoss(weights)(logits, labels)

    assert torch.equal(ImbalanceLoss(weights, gamma=0.0)(logits, labels), weighted)
    assert ImbalanceLoss(weights, gamma=2.0)(logits, labels) <= weighted


@given(drawn=BATCHES)
def test_logit_adjustment_of_equal_classes_is_plain_cross_entropy(drawn: tuple[int, int, float]) -> None:
    """A constant added to all logits is no change."""
    logits, labels = batch(drawn)

    loss = make_loss(Imbalance.LOGIT_ADJUSTMENT, np.full(8, 100), balance=BALANCE)(logits, labels)

    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits, labels), rtol=1e-4, atol=1e-4)


def test_effective_numbers_lie_between_equal_images_and_equal_classes() -> None:
    """β of 0 and towards 1; in between, the 54 : 1 of ISIC 2019 become 31 : 1."""
    torch.testing.assert_close(effective_number_weights(COUNTS, beta=0.0), torch.ones(8))
    torch.testing.assert_close(
        effective_number_weights(COUNTS, beta=1 - 1e-9), class_weights(COUNTS, 1.0), rtol=1e-3, atol=0
    )
    usual = effective_number_weights(COUNTS)
    assert float(usual.max() / usual.min()) == pytest.approx(30.7, abs=0.1)


def test_balance_chooses_between_equal_images_and_equal_classes() -> None:
    """At 1 each class has the same total weight, at 0 each image."""
    counts = np.array([90, 10])

    assert class_weights(counts, 0.0).tolist() == [1.0, 1.0]
    equal = class_weights(counts, 1.0)
    assert float(equal[0] * 90) == pytest.approx(float(equal[1] * 10))
    assert float(equal[0] * 90 + equal[1] * 10) / 100 == pytest.approx(1)


def test_the_rarest_class_has_the_largest_margin() -> None:
    """And sixteen times as many images halve it."""
    margins = ldam_margins(np.array([160, 10, 1000]))

    assert margins.argmax() == 1
    assert float(margins[1]) == pytest.approx(LARGEST_MARGIN)
    assert float(margins[0]) == pytest.approx(LARGEST_MARGIN / 2)


def test_ldam_weighs_classes_only_late_in_the_run() -> None:
    """First the margins shape the features, then the weights move the borders."""
    logits, labels = batch((0, 12, 3.0))
    loss_of = make_loss(Imbalance.LDAM_DRW, COUNTS, balance=BALANCE)
    margins_only = ImbalanceLoss(torch.ones(8), margins=ldam_margins(COUNTS))

    assert torch.equal(loss_of(logits, labels, progress=DEFERRED_SHARE - 0.01), margins_only(logits, labels))
    assert not torch.equal(loss_of(logits, labels, progress=DEFERRED_SHARE), margins_only(logits, labels))


@pytest.mark.parametrize("imbalance", Imbalance)
@pytest.mark.parametrize("scale", [0.0, 1e4, 1e30])
def test_gradients_stay_finite_at_extreme_logits_and_without_a_class(imbalance: Imbalance, scale: float) -> None:
    """Surely right, surely wrong, and undecided; class 3 has no image."""
    counts = COUNTS.copy()
    counts[3] = 0
    logits = (torch.eye(8)[[0, 1, 2]] * scale).requires_grad_()

    loss = make_loss(imbalance, counts, balance=BALANCE, label_smoothing=0.05)(logits, torch.tensor([0, 2, 2]))
    loss.backward()

    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_a_class_without_images_is_counted() -> None:
    """All K classes have a place, in their order, and finite constants."""
    counts = class_counts(np.array([0, 0, 2]), 4)

    assert counts.tolist() == [2, 0, 1, 0]
    for constants in (class_weights(counts, 1.0), effective_number_weights(counts), log_prior_shift(counts)):
        assert torch.isfinite(constants).all()
    assert class_weights(counts, 0.0).tolist() == [1.0] * 4


def test_half_precision_loses_nothing() -> None:
    """Logits of a network under autocast are widened first."""
    logits, labels = batch((1, 12, 3.0))
    loss_of = make_loss(Imbalance.FOCAL, COUNTS, balance=BALANCE)

    assert torch.equal(loss_of(logits.bfloat16(), labels), loss_of(logits.bfloat16().float(), labels))


def long_tail(counts: list[int], seed: int) -> tuple[torch.Tensor, NDArray[np.int64]]:
    """Points float32 ``(N, 2)`` around one centre a class, which overlap, and their labels."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    centres = np.array([[0.0, 0.0], [1.5, 0.0], [0.0, 1.5]])
    return torch.from_numpy((centres[labels] + random.normal(0, 1, (len(labels), 2))).astype(np.float32)), labels


@pytest.mark.parametrize("imbalance", [i for i in Imbalance if i not in (Imbalance.NONE, Imbalance.BALANCED_SAMPLING)])
def test_rare_classes_are_found_more_often_than_by_plain_cross_entropy(imbalance: Imbalance) -> None:
    """A linear classifier of overlapping classes of 100 : 10 : 1, measured on equal ones."""
    points, labels = long_tail([2000, 200, 20], seed=0)
    test_points, test_labels = long_tail([500, 500, 500], seed=1)

    def score(setting: Imbalance) -> float:
        loss_of = make_loss(setting, class_counts(labels, 3), balance=BALANCE)
        head = torch.nn.Linear(2, 3)
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
        optimizer = torch.optim.LBFGS(head.parameters(), max_iter=50, line_search_fn="strong_wolfe")

        def step() -> torch.Tensor:
            optimizer.zero_grad()
            loss: torch.Tensor = loss_of(head(points), torch.from_numpy(labels))
            loss.backward()
            return loss

        optimizer.step(step)
        return balanced_multiclass_accuracy(head(test_points).softmax(1).detach().numpy(), test_labels)

    assert score(imbalance) > score(Imbalance.NONE) + 0.1
