"""Fit the head alone, on features that are taken once: seconds instead of hours, and a baseline for everything else."""

# N images · D features · K trained classes

from __future__ import annotations

import attrs
import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from lesion_core.decision.ood import NetworkOutput
from lesion_core.metrics import balanced_multiclass_accuracy
from lesion_core.preprocess_spec import PreprocessSpec
from lesion_core.splits import TRAIN, VALIDATION
from lesion_plugins.classifier import Classifier
from lesion_train.config import Imbalance, TrainConfig
from lesion_train.devices import resolve_device
from lesion_train.inference import run_network
from lesion_train.loop import Part
from lesion_train.losses import ABSENT_LOGIT, class_counts, class_weights

log = structlog.get_logger()

INVERSE_STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1)


@attrs.frozen(kw_only=True, eq=False)
class LinearProbe:
    """A fitted model, in evaluation mode, and what it says of the images that it was fitted and chosen on."""

    model: Classifier
    train: NetworkOutput
    validation: NetworkOutput


def fit_linear_probe(
    model: Classifier, train: Part, validation: Part, spec: PreprocessSpec, config: TrainConfig
) -> LinearProbe:
    """Set the head to a multinomial logistic regression on the features of the untouched backbone.

    Features are standardised by the training part, which is folded into the head afterwards. Classes are weighed as
    ``imbalance`` says, ``none`` or ``weighted``. The inverse strength of the regularisation, scikit-learn's ``C``, is
    the one with the best balanced accuracy on the validation part.

    Args:
        model: with the weights that it starts from; its head is overwritten.
        train: what the head is fitted on, without any augmentation.
        validation: what the inverse strength is chosen on.
        spec: the network's preprocessing.
        config: the settings; those of the optimiser have no effect.
    """
    torch.set_num_threads(config.threads)
    model = model.to(resolve_device(config.device)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    features, held_out = (
        run_network(model, part.squares, spec, shown=f"{name} part").embeddings
        for name, part in ((TRAIN, train), (VALIDATION, validation))
    )
    mean, std = features.mean(axis=0), features.std(axis=0).clip(min=1e-6)
    counts = class_counts(train.labels, model.head.out_features)
    balance = config.balance if config.imbalance is Imbalance.WEIGHTED else 0.0
    weights = class_weights(counts, balance).numpy()[train.labels]
    best_bma = -1.0
    for inverse_strength in INVERSE_STRENGTHS:
        regression = LogisticRegression(C=inverse_strength, max_iter=2000)
        regression.fit((features - mean) / std, train.labels, sample_weight=weights)
        bma = balanced_multiclass_accuracy(_logits(regression, (held_out - mean) / std, len(counts)), validation.labels)
        log.info("probe_fitted", C=inverse_strength, val_bma=round(bma, 4))
        if bma > best_bma:
            best_bma, best = bma, regression
    identity = np.vstack([np.zeros(features.shape[1]), np.eye(features.shape[1])])
    bias, *rows = _logits(best, (identity - mean) / std, len(counts))
    with torch.no_grad():
        model.head.bias.copy_(torch.from_numpy(bias))
        model.head.weight.copy_(torch.from_numpy(np.stack(rows) - bias).T)
    found = [
        NetworkOutput(logits=_of_head(embeddings, model), embeddings=embeddings) for embeddings in (features, held_out)
    ]
    return LinearProbe(model=model.eval(), train=found[0], validation=found[1])


def _of_head(embeddings: NDArray[np.float32], model: Classifier) -> NDArray[np.float32]:
    """The head is linear, so the mean of views' logits is the logits of their mean embedding."""
    weight, bias = (tensor.numpy(force=True) for tensor in (model.head.weight, model.head.bias))
    return np.asarray(embeddings @ weight.T + bias, dtype=np.float32)


def _logits(regression: LogisticRegression, features: np.ndarray, classes: int) -> np.ndarray:
    """Logits ``(N, K)``; scikit-learn leaves out classes without images, and gives two classes one column."""
    scores = regression.decision_function(features)
    if scores.ndim == 1:
        scores = np.stack([np.zeros_like(scores), scores], axis=1)
    logits = np.full((len(features), classes), ABSENT_LOGIT)
    logits[:, regression.classes_] = scores
    return logits
