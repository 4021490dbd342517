"""One example of every message, for the gateway's description of itself. All of it is invented."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from lesion_core.interval import Interval
from lesion_core.monitoring import (
    Alert,
    Check,
    ClassFeedback,
    Comparison,
    Day,
    FeedbackScores,
    Latency,
    MonitoringReport,
)
from lesion_core.service import (
    Caller,
    Change,
    DiagnosisLine,
    Feedback,
    Label,
    Limits,
    Line,
    Page,
    Record,
    SimilarCase,
    SimilarCases,
    Version,
    Versions,
)
from lesion_core.taxonomy import ISIC_2019
from lesion_core.wire import (
    NOTICE,
    ClassProbability,
    ConformalSet,
    MalignancyRisk,
    ModelIdentity,
    OutOfDistribution,
    Prediction,
)
from lesion_serve.gateway.messages import Item, Items, Model, Models, ProblemDetails, Status

REQUEST_ID = "3f0c7d52b1a84e6f9d0e2c4b6a8f1357"
CARD = "# Model card\n"
EVALUATION = {"headline": {"bma": {"value": 0.65, "low": 0.58, "high": 0.72, "confidence": 0.95}}}
_DIGEST = "9f2c" * 16
_BMA = Interval(value=0.65, low=0.58, high=0.72)
_AT = "2026-11-12T09:30:00.000000+00:00"
_SHARES = {"MEL": 0.08, "NV": 0.81, "BKL": 0.06, "BCC": 0.01, "SCC": 0.01, "AK": 0.01, "DF": 0.005, "VASC": 0.005}

_prediction = Prediction(
    request_id=REQUEST_ID,
    model=ModelIdentity(name="skin-lesion", version="7", backbone="efficientnet_lite0", bundle_digest=_DIGEST),
    probabilities=tuple(
        ClassProbability(
            code=one.code,
            name=one.name,
            malignancy=one.malignancy,
            plain=one.plain,
            codes=one.codes,
            probability=_SHARES.get(one.code, 0.01),
        )
        for one in ISIC_2019.diagnoses
    ),
    out_of_distribution=OutOfDistribution(detector="mahalanobis", score=11.2, threshold=16.5, is_outside=False),
    conformal_set=ConformalSet(codes=("NV", "MEL"), coverage=0.9),
    risk=MalignancyRisk(
        probability=0.1, band="low", lower=0.0, upper=0.12, sensitivity=0.95, images=330, malignant=15, prevalence=0.37
    ),
    timings_ms={"decode": 6.1, "network": 41.0, "decide": 0.4},
)
_problem = ProblemDetails(
    type="about:blank",
    title="Unprocessable Entity",
    status=422,
    detail="The image ends too early. Send the whole file.",
    code="corrupt_image",
    request_id=f"{REQUEST_ID}-2",
    message="The image ends too early. Send the whole file.",
    schema_version=1,
)
_feedback = Feedback(
    at=_AT, key_id="a1b2c3d4", verdict="other", diagnosis="BCC", comment="Excised on 12 November", source="histology"
)
_similar = SimilarCases(
    request_id=REQUEST_ID,
    source="isic-2019:data",
    images=800,
    agreement=0.46,
    cases=(SimilarCase(diagnosis="NV", distance=0.12, jpeg_base64="/9j/4AAQSkZJRgABAQAAAQABAAD/2Q=="),),
)
_MESSAGES: tuple[object, ...] = (
    _prediction,
    _similar,
    _problem,
    _feedback,
    Status(status="ok"),
    Items(
        items=(
            Item(status=200, prediction=_prediction, problem=None),
            Item(status=422, prediction=None, problem=_problem),
        )
    ),
    Models(
        models=(
            Model(
                name="skin-lesion",
                version="7",
                backbone="efficientnet_lite0",
                bundle_digest=_DIGEST,
                is_default=True,
                ready_workers=2,
                workers=2,
                finding=None,
            ),
        )
    ),
    Record(
        request_id=REQUEST_ID,
        at=_AT,
        key_id="a1b2c3d4",
        position=1734,
        digest=_DIGEST,
        image_sha256=_DIGEST,
        image_bytes=182_044,
        subject="P-1734",
        erased=(),
        prediction=_prediction,
        feedback=(_feedback,),
    ),
    Label(
        product="Lesion",
        product_version="0.1.0",
        notice=NOTICE,
        intended_use=("Research on the classification of dermoscopic images.",),
        not_for=("Making or excluding a diagnosis.",),
        model="skin-lesion",
        model_version="7",
        bundle_digest=_DIGEST,
        backbone="efficientnet_lite0",
        trained_on="ISIC 2019",
        training_images=17_731,
        validation_images=3_799,
        weights_license="Apache-2.0",
        code_license="Apache-2.0",
        diagnoses=tuple(
            DiagnosisLine(
                code=one.code,
                name=one.name,
                malignancy=one.malignancy,
                is_trained=one.code in ISIC_2019.trained_codes,
            )
            for one in ISIC_2019.diagnoses
        ),
        metrics={"val_bma": _BMA},
        limits=Limits(
            formats=("image/jpeg", "image/png"),
            image_bytes=20_971_520,
            image_pixels=50_000_000,
            request_bytes=83_886_080,
            images=16,
            seconds=20.0,
        ),
        card=CARD,
    ),
    Page(
        items=(
            Line(
                request_id=REQUEST_ID,
                at=_AT,
                key_id="a1b2c3d4",
                subject="P-1734",
                model_version="7",
                top="NV",
                probability=0.81,
                band="low",
                is_outside=False,
                quality="ok",
                review="other",
                diagnosis="BCC",
            ),
        ),
        next="1734",
    ),
    Caller(
        key_id="a1b2c3d4", name="Ward 3", role="clinician", permissions=("feedback", "models", "predict", "read_own")
    ),
    Versions(
        versions=(
            Version(
                name="skin-lesion",
                version="7",
                backbone="efficientnet_lite0",
                bundle_digest=_DIGEST,
                place="champion",
                share_percent=100.0,
                is_shadow=False,
                ready_workers=2,
                workers=2,
                finding=None,
                created_at=_AT,
                trained_on="ISIC 2019",
                metrics={"test_bma": _BMA},
                has_evaluation=True,
            ),
        ),
        history=(Change(at=_AT, by="key a1b2c3d4", action="promote", before="6", after="7", why="misses fewer BCC"),),
    ),
    MonitoringReport(
        created_at=_AT,
        since=_AT,
        until=_AT,
        model_version="7",
        bundle_digest=_DIGEST,
        predictions=500,
        classes={"NV": 330, "MEL": 170},
        bands={"low": 400, "intermediate": 60, "high": 40},
        quality={"ok": 480, "warn": 15, "reject": 5},
        outside=Interval(value=0.02, low=0.01, high=0.04),
        latency=(Latency(stage="network", p50_ms=41.0, p95_ms=55.0, p99_ms=80.0),),
        days=(Day(date="2026-11-12", predictions=500, outside=10, rejected=5, reviewed=40),),
        checks=(
            Check(
                name="class_mix",
                statistic="psi",
                value=0.31,
                threshold=0.12,
                p_value=0.001,
                images=500,
                is_alarm=True,
                sentence="The answers' classes differ from those of the reference.",
            ),
        ),
        feedback=FeedbackScores(
            reviewed=40,
            histology=12,
            accuracy=Interval(value=0.8, low=0.65, high=0.9),
            malignant_sensitivity=None,
            ece=None,
            classes=(ClassFeedback(code="NV", images=30, sensitivity=Interval(value=0.9, low=0.74, high=0.97)),),
            minimum=20,
            disagreements=(REQUEST_ID,),
        ),
        comparisons=(
            Comparison(
                challenger="8",
                images=100,
                agreement=Interval(value=0.9, low=0.83, high=0.94),
                reviewed=4,
                accuracy_difference=None,
                risk_difference=Interval(value=0.01, low=-0.01, high=0.03),
            ),
        ),
        alerts=(
            Alert(name="drift", state="firing", severity="warning", at=_AT, value=0.31, message="The classes differ."),
        ),
    ),
)
EXAMPLES: Mapping[type, Any] = {type(one): msgspec.json.decode(msgspec.json.encode(one)) for one in _MESSAGES}
METRICS = 'lesion_requests_total{route="/v1/predictions",status="200"} 1734.0\n'
