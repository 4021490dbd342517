"""Losses for classes of very different size (54 : 1 in ISIC 2019), behind one setting.

All of them are one formula with other constants. With logits z, targets t (rows sum to 1) and K classes:

    z'   = z + shift - t * margin
    s    = (1 - ε) t + ε / K                                  (label smoothing: Szegedy et al. 2016, section 7)
    loss = Σ_nk w_k s_nk (1 - p_nk)^γ (-log p_nk)  /  Σ_nk w_k t_nk        with p = softmax(z')

| imbalance         | w                               | shift     | margin      | γ | drawn     |
|-------------------|---------------------------------|-----------|-------------|---|-----------|
| none              | 1                               | 0         | 0           | 0 | once each |
| weighted          | n^-balance                      | 0         | 0           | 0 | once each |
| class_balanced    | (1 - β) / (1 - β^n)             | 0         | 0           | 0 | once each |
| focal             | n^-balance                      | 0         | 0           | 2 | once each |
| ldam_drw          | 1, then as class_balanced       | 0         | ∝ n^(-1/4)  | 0 | once each |
| logit_adjustment  | 1                               | τ log π   | 0           | 0 | once each |
| balanced_sampling | 1                               | 0         | 0           | 0 | n^-balance |

with n the number of a class's images in the training part and π = n / Σ n. A class without any takes no part: K, the
softmax and the sums are over the others, as if the taxonomy did not have it (``loop`` sees to it that it is never the
answer).

What the trained network's logits mean. Shift and margin act in training only; nothing is added to or taken from the
logits afterwards. They are, up to a constant for each image, log p(class | image) for classes as frequent as

- ``none``: in the training part.
- ``weighted``, ``class_balanced``, ``balanced_sampling``: proportional to w·n there; equally frequent at ``balance`` 1.
- ``logit_adjustment``: equally frequent at τ = 1 (n^(1-τ) in general).
- ``focal``: as ``weighted``, but too unsure: the loss is not proper (Charoenphakdee et al. 2021).
- ``ldam_drw``: no frequencies; margins and the late weights shift them towards the rare classes.

Label smoothing is weighted as well, as in ``torch.nn.CrossEntropyLoss``: with weights, an image of which the network is
sure gives class k the share w_k·ε/K beside w_y·(1 - ε) of its own class y. On ISIC 2019, at the defaults (balance 0.7,
ε 0.05), a sure nevus then has p = 0.74, and 0.08 go to each of the two rarest classes; without weights 0.96 and 0.006.
Where weights differ so much that a rare class would get more than the own one, ``require_true_optimum`` refuses them.

The one temperature that calibration fits on the validation part divides all logits alike. It mends how sure the
network is (``focal``), and cannot move probability from one class to another. So with every setting but ``none``
probabilities of rare classes stay higher than the validation part's frequencies would make them: the price of a higher
balanced accuracy.
"""

# N images · K trained classes

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lesion_core.errors import LesionError
from lesion_train.config import Imbalance, TrainConfig

# Cui et al. 2019, "Class-Balanced Loss Based on Effective Number of Samples": 0.9999 for CIFAR-10, whose classes have
# up to 5,000 images; 0.999 would make classes of 2,000 and of 12,000 nearly equal. Gives 31 : 1 on ISIC 2019.
EFFECTIVE_NUMBER_BETA = 0.9999
FOCAL_GAMMA = 2.0  # Lin et al. 2017, "Focal Loss for Dense Object Detection", section 5.1
LOGIT_ADJUSTMENT_TAU = 1.0  # Menon et al. 2021, "Long-tail learning via logit adjustment", theorem 1: consistent at 1
# Cao et al. 2019, "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss": 0.5 between cosines, which
# lie within 2 of each other, so a quarter of the range (the factor s = 30 only sharpens their softmax). Our head is
# linear, and the logits of one image lie within about 10 of each other: a quarter of that. Our choice.
LARGEST_MARGIN = 2.5
DEFERRED_SHARE = 0.8  # Cao et al. 2019, section 4: weights from epoch 160 of 200 on
ABSENT_LOGIT = -20.0  # what a trained network says of a class without images
_LOWEST = torch.finfo(torch.float32).min  # not minus infinity, whose product with a weight of 0 is no number


class ImbalanceLoss(nn.Module):
    """The formula above. A call gives a scalar, float32; in half precision too it is computed in float32.

    Args:
        weights: w, float ``(K,)``, at least 0. Their scale does not matter. A class of weight 0 has no images, and
            takes no part.
        shift: what is added to the logits, float ``(K,)``.
        margins: what is taken from the logit of the true class, float ``(K,)``.
        gamma: γ; 0, or at least 1, for below that the gradient has no bound.
        label_smoothing: ε in [0, 1).
        weights_from: the share of the run, in [0, 1], after which ``weights`` hold; before, all are 1.
    """

    weights: Tensor
    shift: Tensor
    margins: Tensor
    is_absent: Tensor
    smoothing: Tensor

    def __init__(
        self,
        weights: Tensor,
        *,
        shift: Tensor | None = None,
        margins: Tensor | None = None,
        gamma: float = 0.0,
        label_smoothing: float = 0.0,
        weights_from: float = 0.0,
    ) -> None:
        super().__init__()
        self.register_buffer("weights", weights.float())
        self.register_buffer("shift", torch.zeros_like(weights) if shift is None else shift.float())
        self.register_buffer("margins", torch.zeros_like(weights) if margins is None else margins.float())
        self.register_buffer("is_absent", self.weights == 0)
        share = label_smoothing / int((~self.is_absent).sum())
        self.register_buffer("smoothing", torch.where(self.is_absent, 0.0, share))
        self._gamma = gamma
        self._label_smoothing = label_smoothing
        self._weights_from = weights_from

    def forward(
        self, logits: Tensor, targets: Tensor, progress: float = 1.0, step_labels: Tensor | None = None
    ) -> Tensor:
        """How far the logits are from the targets.

        Args:
            logits: float ``(N, K)``.
            targets: int64 ``(N,)`` in ``[0, K)``, or float ``(N, K)`` whose rows sum to 1 (of mixed images).
            progress: share of the run's steps that are done, in [0, 1].
            step_labels: int64 ``(B,)`` of all images of the step of which these are a slice. The loss is then the
                slice's share, and the shares sum to the loss of the whole step.
        """
        classes = logits.shape[1]
        soft = nn.functional.one_hot(targets, classes).float() if targets.ndim == 1 else targets.float()
        adjusted = (logits.float() + self.shift - soft * self.margins).masked_fill(self.is_absent, _LOWEST)
        log_p = torch.log_softmax(adjusted, dim=1)
        smoothed = soft * (1 - self._label_smoothing) + self.smoothing
        weights = self.weights if progress >= self._weights_from else (~self.is_absent).float()
        terms = weights * smoothed * -log_p
        if self._gamma:
            terms = terms * (-torch.expm1(log_p)) ** self._gamma
        # Mixing the images of a slice in pairs leaves the sum of their targets as it is.
        total = (weights * soft).sum() if step_labels is None else weights[step_labels].sum()
        return terms.sum() / total


def make_loss(
    imbalance: Imbalance, counts: NDArray[np.integer], *, balance: float, label_smoothing: float = 0.0
) -> ImbalanceLoss:
    """The loss of a setting, for a training part with ``counts`` images of each class.

    Args:
        imbalance: what is done about classes of different size.
        counts: int ``(K,)``; a class without any image takes no part.
        balance: 0 for equal images, 1 for equal classes; of ``weighted`` and ``focal`` (and of sampling: ``data``).
        label_smoothing: share of each target that is spread over all classes that have images.
    """
    equal = torch.as_tensor(counts > 0, dtype=torch.float32)
    match imbalance:
        case Imbalance.NONE | Imbalance.BALANCED_SAMPLING:
            return ImbalanceLoss(equal, label_smoothing=label_smoothing)
        case Imbalance.WEIGHTED:
            return ImbalanceLoss(class_weights(counts, balance), label_smoothing=label_smoothing)
        case Imbalance.CLASS_BALANCED:
            return ImbalanceLoss(effective_number_weights(counts), label_smoothing=label_smoothing)
        case Imbalance.FOCAL:
            return ImbalanceLoss(class_weights(counts, balance), gamma=FOCAL_GAMMA, label_smoothing=label_smoothing)
        case Imbalance.LDAM_DRW:
            return ImbalanceLoss(
                effective_number_weights(counts),
                margins=ldam_margins(counts),
                label_smoothing=label_smoothing,
                weights_from=DEFERRED_SHARE,
            )
        case Imbalance.LOGIT_ADJUSTMENT:
            return ImbalanceLoss(equal, shift=log_prior_shift(counts), label_smoothing=label_smoothing)


def require_true_optimum(config: TrainConfig, counts: Mapping[str, int]) -> None:
    """Check that the loss of an image, whatever its class, is least where that class is the answer.

    With label smoothing an image has a share of each rare class too. Where that share, times the weight, exceeds the
    own one's, a network is taught to answer the rare class in images of which it is sure. In the terms of the formula,
    an image of class y has its least loss at logits z_k of log(w_k s_k) - shift_k, plus the margin for k = y; γ leaves
    their order.

    Args:
        config: the settings; a linear probe has no label smoothing.
        counts: images of the training part, by class.
    Raises:
        LesionError: ``imbalance``: names the two classes, and the largest label smoothing that does not do so.
    """
    codes = [code for code, images in counts.items() if images]
    loss_of = make_loss(config.imbalance, np.array([counts[code] for code in codes]), balance=config.balance)
    pull = loss_of.weights * torch.exp(-loss_of.shift)
    rival = int(pull.argmax())
    ratios = pull[rival] / (pull * torch.exp(loss_of.margins))
    own = int(ratios.argmax())
    largest = len(codes) / (float(ratios[own]) + len(codes) - 1)  # there ε/K · ratio = 1 - ε + ε/K
    if config.linear_probe or config.label_smoothing <= largest:
        return
    lower_balance = " or lower --balance" if config.imbalance in (Imbalance.WEIGHTED, Imbalance.FOCAL) else ""
    raise LesionError(
        f"With --imbalance {config.imbalance} and --label-smoothing {config.label_smoothing:g}, the loss of an image "
        f"of {codes[own]} ({counts[codes[own]]:,} training images) is least where {codes[rival]} "
        f"({counts[codes[rival]]:,}) is the answer. Set --label-smoothing to at most "
        f"{math.floor(largest * 10_000) / 10_000:g}{lower_balance}.",
        code="imbalance",
    )


def class_counts(labels: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Images of each class, int64 ``(K,)``."""
    return np.bincount(labels, minlength=classes)


def class_weights(counts: NDArray[np.integer], balance: float) -> Tensor:
    """Proportional to ``count ** -balance``, 1 for the average image, 0 without images: float32 ``(K,)``."""
    return _one_for_the_average_image(counts.clip(min=1).astype(np.float64) ** -balance, counts)


def effective_number_weights(counts: NDArray[np.integer], *, beta: float = EFFECTIVE_NUMBER_BETA) -> Tensor:
    """Proportional to ``(1 - β) / (1 - β ** count)``, 1 for the average image, 0 without images: float32 ``(K,)``.

    At β = 0 all are 1; towards 1 they become the inverse counts.

    Source: Cui et al. 2019, eq. 4.
    """
    return _one_for_the_average_image((1 - beta) / (1 - beta ** counts.clip(min=1).astype(np.float64)), counts)


def ldam_margins(counts: NDArray[np.integer]) -> Tensor:
    """Proportional to ``count ** -1/4``, ``LARGEST_MARGIN`` for the rarest class, 0 without images: float32 ``(K,)``.

    Source: Cao et al. 2019, eq. 12.
    """
    margins = np.where(counts > 0, counts.clip(min=1).astype(np.float64) ** -0.25, 0.0)
    return torch.as_tensor(margins * (LARGEST_MARGIN / margins.max()), dtype=torch.float32)


def log_prior_shift(counts: NDArray[np.integer]) -> Tensor:
    """``LOGIT_ADJUSTMENT_TAU × log(count / all)``, 0 without images: float32 ``(K,)``, at most 0.

    Source: Menon et al. 2021, eq. 10.
    """
    known = np.where(counts > 0, counts, counts.sum()).astype(np.float64)
    return torch.as_tensor(LOGIT_ADJUSTMENT_TAU * np.log(known / counts.sum()), dtype=torch.float32)


def _one_for_the_average_image(weights: NDArray[np.float64], counts: NDArray[np.integer]) -> Tensor:
    images = max(int(counts.sum()), 1)
    average = float((weights * counts).sum()) / images
    known = np.where(counts > 0, weights, 0.0)
    return torch.as_tensor(known / average if average else known, dtype=torch.float32)
