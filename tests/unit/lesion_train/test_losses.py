"""Each loss against its own formula, written slowly, and against what it has to equal at the edges."""

# N images · K trained classes

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lesion_core.errors import LesionError
from lesion_core.metrics import balanced_multiclass_accuracy
from lesion_train.config import Imbalance, TrainConfig
from lesion_train.losses import (
    ABSENT_LOGIT,
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
    require_true_optimum,
)

COUNTS = np.array([12875, 4522, 3323, 867, 239, 2624, 253, 628])  # ISIC 2019: NV, MEL, BCC, AK, DF, BKL, VASC, SCC
HAM10000 = np.array([4693, 779, 360, 229, 80, 769, 99, 0])  # 70 % of each class; no SCC
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
    """All K classes have a place, in their order, and finite constants; those without images have no weight."""
    counts = class_counts(np.array([0, 0, 2]), 4)

    assert counts.tolist() == [2, 0, 1, 0]
    for constants in (class_weights(counts, 1.0), effective_number_weights(counts), ldam_margins(counts)):
        assert torch.isfinite(constants).all()
        assert (constants > 0).tolist() == [True, False, True, False]
    assert class_weights(counts, 0.0).tolist() == [1.0, 0.0, 1.0, 0.0]
    torch.testing.assert_close(log_prior_shift(counts)[[0, 2]], torch.tensor([2 / 3, 1 / 3]).log())


@pytest.mark.parametrize("progress", [0.0, 1.0])
@pytest.mark.parametrize("imbalance", Imbalance)
@given(drawn=BATCHES)
def test_a_class_without_images_takes_no_part(
    imbalance: Imbalance, progress: float, drawn: tuple[int, int, float]
) -> None:
    """The loss is that of a taxonomy without it, of mixed images as well, and leaves its logit where it is."""
    logits, labels = batch(drawn)
    labels = labels % 7
    soft = (torch.nn.functional.one_hot(labels, 8) + torch.nn.functional.one_hot(labels.flip(0), 8)) / 2
    logits.requires_grad_()
    known = make_loss(imbalance, HAM10000[:7], balance=BALANCE, label_smoothing=0.05)

    loss = make_loss(imbalance, HAM10000, balance=BALANCE, label_smoothing=0.05)(
        logits, soft, progress=progress, step_labels=labels
    )
    loss.backward()

    torch.testing.assert_close(loss, known(logits[:, :7], soft[:, :7], progress=progress, step_labels=labels))
    assert logits.grad is not None
    assert not logits.grad[:, 7].any()


@pytest.mark.parametrize("counts", [COUNTS, HAM10000, np.array([171, 36, 592, 511, 0, 164, 0, 134])])
@pytest.mark.parametrize("imbalance", Imbalance)
def test_the_least_loss_of_an_image_is_where_its_own_class_is_the_answer(
    imbalance: Imbalance, counts: NDArray[np.int64]
) -> None:
    """Of ISIC 2019, of HAM10000 (no SCC) and of PAD-UFES-20 (no DF, no VASC), at the default settings."""
    labels = torch.from_numpy(np.flatnonzero(counts))
    loss_of = make_loss(imbalance, counts, balance=BALANCE, label_smoothing=0.05)
    start = torch.where(torch.from_numpy(counts > 0), 0.0, ABSENT_LOGIT)  # as the head of a network
    logits = start.repeat(len(labels), 1).requires_grad_()
    optimizer = torch.optim.LBFGS([logits], max_iter=300, line_search_fn="strong_wolfe")

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        # Each image's own mean: of the batch's, rare classes would be most, and the frequent ones' minimum flat.
        loss: torch.Tensor = torch.stack([loss_of(logits[[n]], labels[[n]]) for n in range(len(labels))]).sum()
        loss.backward()
        return loss

    optimizer.step(step)

    assert torch.equal(logits.argmax(dim=1), labels)
    require_true_optimum(config(imbalance=imbalance), dict(zip("ABCDEFGH", counts.tolist(), strict=True)))


def config(**changes: object) -> TrainConfig:
    return TrainConfig(data=Path("unused"), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("imbalance", "balance", "images"),
    [
        (Imbalance.WEIGHTED, 1.0, [30_000, 500, 100]),
        (Imbalance.FOCAL, 1.0, [30_000, 500, 100]),
        (Imbalance.CLASS_BALANCED, BALANCE, [30_000, 500, 20]),
        (Imbalance.LDAM_DRW, BALANCE, [30_000, 500, 20]),
        (Imbalance.LOGIT_ADJUSTMENT, BALANCE, [30_000, 500, 100]),
    ],
)
def test_a_loss_that_would_teach_a_rare_class_in_images_of_another_is_refused(
    imbalance: Imbalance, balance: float, images: list[int]
) -> None:
    """With both classes, and the largest label smoothing that does not: there the own class is the answer again."""
    counts = dict(zip(("NV", "MEL", "DF"), images, strict=True)) | {"SCC": 0}

    with pytest.raises(LesionError, match=r"image of NV \(30,000 .* where DF \(\d+\) is the answer") as caught:
        require_true_optimum(config(imbalance=imbalance, balance=balance), counts)

    assert caught.value.code == "imbalance"
    allowed = re.search(r"--label-smoothing to at most ([\d.]+?)( or lower --balance)?\.$", str(caught.value))
    assert allowed is not None
    assert bool(allowed[2]) == (imbalance in (Imbalance.WEIGHTED, Imbalance.FOCAL))
    largest = float(allowed[1])
    for smoothing, answer in ((largest, 0), (largest + 2e-4, 2)):
        assert answer_of_least_loss(make_loss(imbalance, np.array(images), balance=balance), smoothing) == answer
    require_true_optimum(config(imbalance=imbalance, balance=balance, label_smoothing=largest), counts)
    with pytest.raises(LesionError):
        require_true_optimum(config(imbalance=imbalance, balance=balance, label_smoothing=largest + 1e-4), counts)


def answer_of_least_loss(constants: ImbalanceLoss, smoothing: float) -> int:
    """For an image of class 0: the loss is least where p is proportional to w s; logits are before shift and margin."""
    own = torch.nn.functional.one_hot(torch.tensor(0), 3)
    p = constants.weights * (own * (1 - smoothing) + smoothing / 3)
    return int((p.log() - constants.shift + own * constants.margins).argmax())


@pytest.mark.parametrize("imbalance", Imbalance)
@pytest.mark.parametrize("counts", [COUNTS, COUNTS[:7]])
@given(drawn=BATCHES)
def test_where_all_classes_have_images_every_bit_is_as_published(
    imbalance: Imbalance, counts: NDArray[np.int64], drawn: tuple[int, int, float]
) -> None:
    """The formula without a thought of absent classes; of logits and their gradient."""
    logits, labels = batch(drawn)
    classes = len(counts)
    logits, labels = logits[:, :classes].clone().requires_grad_(), labels % classes
    known = counts.astype(np.float64)
    weights, shift, margins = torch.ones(classes), torch.zeros(classes), torch.zeros(classes)
    if imbalance in (Imbalance.WEIGHTED, Imbalance.FOCAL):
        weights = one_for_the_average_image(known**-BALANCE, counts)
    if imbalance in (Imbalance.CLASS_BALANCED, Imbalance.LDAM_DRW):
        weights = one_for_the_average_image((1 - EFFECTIVE_NUMBER_BETA) / (1 - EFFECTIVE_NUMBER_BETA**known), counts)
    if imbalance is Imbalance.LDAM_DRW:
        margins = torch.as_tensor(known**-0.25 * (LARGEST_MARGIN / (known**-0.25).max()), dtype=torch.float32)
    if imbalance is Imbalance.LOGIT_ADJUSTMENT:
        shift = torch.as_tensor(np.log(known / known.sum()), dtype=torch.float32)
    hard = torch.nn.functional.one_hot(labels, classes).float()
    log_p = torch.log_softmax(logits + shift - hard * margins, dim=1)
    terms = weights * (hard * (1 - 0.05) + 0.05 / classes) * -log_p
    if imbalance is Imbalance.FOCAL:
        terms = terms * (-torch.expm1(log_p)) ** 2.0
    expected = terms.sum() / (weights * hard).sum()

    loss = make_loss(imbalance, counts, balance=BALANCE, label_smoothing=0.05)(logits, labels)

    assert torch.equal(loss, expected)
    assert torch.equal(*(torch.autograd.grad(value, logits)[0] for value in (loss, expected)))


def one_for_the_average_image(weights: NDArray[np.float64], counts: NDArray[np.int64]) -> torch.Tensor:
    return torch.as_tensor(weights / (float((weights * counts).sum()) / int(counts.sum())), dtype=torch.float32)


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
