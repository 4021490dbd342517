"""A prediction store as a server fills it, with features, for tests of monitoring."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import attrs
import numpy as np

from lesion_core.drift_reference import DriftSample, embedding_to_text
from lesion_core.taxonomy import ISIC_2019
from lesion_core.wire import (
    ClassProbability,
    DescribedPrediction,
    Features,
    MalignancyRisk,
    OutOfDistribution,
    Prediction,
)
from lesion_serve.monitor.report import Baseline
from lesion_serve.store import FeedbackRecord, PredictionRecord, PredictionStore, Role, Source, Verdict
from support.samples import draw_sample
from support.stored import CLINICIAN, START, make_answer, make_record

DIGEST = "ab" * 32  # of the bundle that ``make_answer`` names


def baseline(images: int = 120, *, seed: int = 1) -> Baseline:
    """What the windows below are compared with."""
    return Baseline(sample=draw_sample(images, seed=seed), codes=ISIC_2019.codes, bundle_digest=DIGEST)


def answer_like(sample: DriftSample, row: int, *, number: int, version: str = "1") -> DescribedPrediction:
    """The answer for one image of a sample, with its features."""
    shares = np.float64(sample.probabilities[row]) / np.float64(sample.probabilities[row]).sum()
    plain = make_answer(number, version=version)
    fields: dict[str, Any] = {field.name: getattr(plain, field.name) for field in attrs.fields(Prediction)}
    fields["probabilities"] = tuple(
        ClassProbability(code=one.code, name=one.name, malignancy=one.malignancy, probability=float(share))
        for one, share in zip(ISIC_2019.diagnoses, shares, strict=True)
    )
    fields["out_of_distribution"] = OutOfDistribution(
        detector="mahalanobis",
        score=float(sample.strangeness[row]),
        threshold=2.0,
        is_outside=bool(sample.strangeness[row] > 2.0),
    )
    risk = float(shares[:2].sum())
    fields["risk"] = MalignancyRisk(
        probability=risk,
        band="low" if risk < 0.1 else "high",
        lower=0.0,
        upper=0.5,
        sensitivity=0.95,
        images=9,
        malignant=1,
        prevalence=0.2,
    )
    return DescribedPrediction(
        **fields,
        features=Features(
            embedding_base64=embedding_to_text(sample.embeddings[row]),
            probabilities=tuple(float(share) for share in shares),
            quality={name: float(values[row]) for name, values in sample.quality.items()},
        ),
    )


def fill(
    store: PredictionStore,
    sample: DriftSample,
    *,
    first: int = 0,
    version: str = "1",
    role: Role = Role.ANSWERED,
    subject: str | None = None,
    since: datetime = START,
) -> list[str]:
    """Append a prediction a minute for each image, each of another patient unless told; returns the request ids."""
    requests = []
    for row in range(len(sample)):
        number = first + row
        record = make_record(number, version=version)
        answer = answer_like(sample, row, number=number, version=version)
        store.append(
            PredictionRecord.of(
                answer,
                at=since + timedelta(minutes=number),
                principal=CLINICIAN,
                image_sha256=record.image_sha256,
                image_bytes=record.image_bytes,
                role=role,
                subject=subject or f"patient-{number}",
                timings_ms={"network": 20.0 + row, "decode": 3.0},
            )
        )
        requests.append(record.request_id)
    return requests


def review(
    store: PredictionStore, request_id: str, diagnosis: str | None = None, *, source: Source = Source.CLINICAL
) -> None:
    """Somebody agrees, or names another diagnosis."""
    store.append_feedback(
        FeedbackRecord(
            request_id=request_id,
            principal=CLINICIAN,
            verdict=Verdict.AGREE if diagnosis is None else Verdict.OTHER,
            diagnosis=diagnosis,
            source=source,
            at=START + timedelta(days=30),
        )
    )
