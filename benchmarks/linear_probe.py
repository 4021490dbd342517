"""The baseline of several benchmarks: a linear classifier on features that were never tuned. Not a benchmark itself."""

# N images · D features · K trained classes

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def probe_probabilities(
    train_features: NDArray[np.float32],
    validation_features: NDArray[np.float32],
    *,
    labels: NDArray[np.int64],
    lesions: NDArray[np.str_],
) -> NDArray[np.float64]:
    """Fit on the training part, whose labels and lesions are given, and answer for the other: float64 ``(N, K)``.

    Features float32 ``(N, D)`` are standardised; scikit-learn's LogisticRegression weighs classes equally; its strength
    C is chosen by 5-fold cross-validation grouped by lesion, inside the training part.
    """
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000)),
        {"logisticregression__C": [0.001, 0.003, 0.01, 0.03]},
        scoring="balanced_accuracy",
        cv=StratifiedGroupKFold(n_splits=5),
    ).fit(train_features, labels, groups=lesions)
    probabilities: NDArray[np.float64] = search.predict_proba(validation_features)
    return probabilities
