"""Answers without a model."""

from __future__ import annotations

from lesion_core.taxonomy import ISIC_2019
from lesion_core.wire import ClassProbability, ConformalSet, ModelIdentity, OutOfDistribution, Prediction


def make_prediction(*, request_id: str = "r-1", version: str = "5") -> Prediction:
    """All classes equally probable."""
    share = 1 / len(ISIC_2019.diagnoses)
    return Prediction(
        request_id=request_id,
        model=ModelIdentity(name="skin-lesion", version=version, backbone="efficientnet_lite0", bundle_digest="0" * 64),
        probabilities=tuple(
            ClassProbability(code=one.code, name=one.name, malignancy=one.malignancy, probability=share)
            for one in ISIC_2019.diagnoses
        ),
        out_of_distribution=OutOfDistribution(detector="mahalanobis", score=0.0, threshold=1.0, is_outside=False),
        conformal_set=ConformalSet(codes=("NV",), coverage=0.9),
        risk=None,
    )
