"""Canned values of everything that a gateway tells beside predictions: lists, records, versions, monitoring."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

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
    Label,
    Limits,
    Line,
    Version,
    Versions,
)
from lesion_core.taxonomy import ISIC_2019

START = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
EVERYTHING = ("predict", "read_own", "read_all", "feedback", "models", "metrics", "monitor", "deploy")
CLINICIAN = ("predict", "read_own", "feedback", "models")
DIGEST = "0123456789abcdef" * 4
BANDS = ("high", "intermediate", "low")


def make_caller(permissions: tuple[str, ...] = EVERYTHING, **changes: Any) -> Caller:
    """Who a key stands for; by default one that may do all."""
    fields: dict[str, Any] = {"key_id": "a1b2c3d4", "name": "Ward 3", "role": "engineer", "permissions": permissions}
    return Caller(**fields | changes)


def make_lines(count: int) -> list[Line]:
    """Predictions, newest first, of every class, band and state of review."""
    codes = ISIC_2019.codes
    reviews = (None, "agree", "other", "comment")
    return [
        Line(
            request_id=f"req-{count - n:04d}",
            at=(START - timedelta(minutes=7 * n)).isoformat(),
            key_id="a1b2c3d4",
            subject=f"P-{n % 7}" if n % 3 else None,
            model_version="3" if n % 5 else "2",
            top=codes[n % len(codes)],
            probability=0.35 + (n % 60) / 100,
            band=BANDS[n % 3],
            is_outside=codes[n % len(codes)] == "UNK",
            quality=("ok", "ok", "warn", "reject")[n % 4],
            review=reviews[n % 4],
            diagnosis={"agree": codes[n % len(codes)], "other": "NV"}.get(reviews[n % 4] or ""),
        )
        for n in range(count)
    ]


def make_interval(value: float, half: float = 0.04) -> Interval:
    """A measured number."""
    return Interval(value=value, low=max(0.0, value - half), high=min(1.0, value + half))


def make_label(**changes: Any) -> Label:
    """What a user has to know first."""
    fields: dict[str, Any] = {
        "product": "Lesion",
        "product_version": "0.1.0",
        "notice": "Research use only. Not a medical device; not a diagnosis.",
        "intended_use": ("Research, teaching and software development.",),
        "not_for": ("Making, excluding or delaying a diagnosis.",),
        "model": "skin-lesion",
        "model_version": "3",
        "bundle_digest": DIGEST,
        "backbone": "efficientnet_lite0",
        "trained_on": "isic2019",
        "training_images": 2958,
        "validation_images": 634,
        "weights_license": "Apache-2.0",
        "code_license": "Apache-2.0",
        "diagnoses": tuple(
            DiagnosisLine(code=one.code, name=one.name, malignancy=one.malignancy, is_trained=one.code != "UNK")
            for one in ISIC_2019.diagnoses
        ),
        "metrics": {"val_bma": make_interval(0.647), "val_macro_auroc": make_interval(0.914)},
        "limits": Limits(
            formats=("image/jpeg",),
            image_bytes=20 << 20,
            image_pixels=50_000_000,
            request_bytes=50 << 20,
            images=16,
            seconds=10.0,
        ),
        "card": "# Model card",
    }
    return Label(**fields | changes)


def make_version(version: str, place: str, **changes: Any) -> Version:
    """One deployed version."""
    fields: dict[str, Any] = {
        "name": "skin-lesion",
        "version": version,
        "backbone": "efficientnet_lite0",
        "bundle_digest": DIGEST,
        "place": place,
        "share_percent": 100.0 if place == "champion" else 0.0,
        "is_shadow": place == "challenger",
        "ready_workers": 2,
        "workers": 2,
        "finding": None,
        "created_at": START.isoformat(),
        "trained_on": "isic2019",
        "metrics": {
            "val_bma": make_interval(0.647),
            "val_sensitivity_MEL": make_interval(0.914),
            "test_bma": make_interval(0.63),
        },
        "has_evaluation": True,
    }
    return Version(**fields | changes)


def make_versions() -> Versions:
    """A champion, the one before and a challenger."""
    return Versions(
        versions=(
            make_version("3", "champion"),
            make_version("2", "previous", has_evaluation=False),
            make_version("4", "challenger"),
        ),
        history=(
            Change(at=START.isoformat(), by="a1b2c3d4", action="promote", before="2", after="3", why="Better on head."),
            Change(at=(START - timedelta(days=30)).isoformat(), by="local", action="start", before=None, after="2"),
        ),
    )


def make_evaluation() -> dict[str, Any]:
    """What the page reads of ``evaluation.json``."""
    interval = {"value": 0.647, "low": 0.582, "high": 0.717, "confidence": 0.95}
    codes = list(ISIC_2019.trained_codes)
    return {
        "schema_version": 1,
        "codes": codes,
        "data": {"dataset": "isic2019", "part": "test", "images": 604, "lesions": 438},
        "headline": {"bma": interval, "bma_with_none": interval, "macro_auroc": interval, "accuracy": interval},
        "after_temperature": {
            "temperature": 1.2,
            "ece": interval,
            "bins": [
                {
                    "lower": n / 5,
                    "upper": (n + 1) / 5,
                    "count": 40 * n,
                    "mean_probability": n / 5 + 0.1,
                    "observed": n / 5,
                }
                for n in range(1, 5)
            ],
        },
        "classes": [
            {
                "code": code,
                "name": ISIC_2019.resolve(code).name,
                "images": 80,
                "lesions": 60,
                "sensitivity": interval,
                "specificity": interval,
                "ppv": interval,
                "npv": None,
                "auroc": interval,
            }
            for code in codes
        ],
        "confusion": [[60 if row == column else 3 for column in range(8)] for row in range(8)],
        "subgroups": [
            {
                "grouping": "sex",
                "group": group,
                "images": 300,
                "lesions": 210,
                "malignant_lesions": 70,
                "bma": interval,
                "macro_auroc": interval,
                "sensitivity": interval,
                "specificity": None,
            }
            for group in ("female", "male")
        ],
    }


def make_report(**changes: Any) -> MonitoringReport:
    """A month with an alert, drift in one measure and some feedback."""
    days = tuple(
        Day(
            date=(START.date() - timedelta(days=29 - n)).isoformat(),
            predictions=40 + n % 9,
            outside=n % 4,
            rejected=n % 3,
            reviewed=n % 6,
        )
        for n in range(30)
    )
    fields: dict[str, Any] = {
        "created_at": START.isoformat(),
        "since": (START - timedelta(days=30)).isoformat(),
        "until": START.isoformat(),
        "model_version": "3",
        "bundle_digest": DIGEST,
        "predictions": sum(day.predictions for day in days),
        "classes": {code: 200 - 20 * n for n, code in enumerate(ISIC_2019.codes)},
        "bands": {"low": 700, "intermediate": 300, "high": 300},
        "quality": {"ok": 1200, "warn": 80, "reject": 20},
        "outside": make_interval(0.04, 0.01),
        "latency": (
            Latency(stage="total", p50_ms=48.0, p95_ms=110.0, p99_ms=190.0),
            Latency(stage="network", p50_ms=20.0, p95_ms=41.0, p99_ms=60.0),
        ),
        "days": days,
        "checks": (
            Check(
                name="class_mix",
                statistic="psi",
                value=0.31,
                threshold=0.2,
                p_value=None,
                images=1300,
                is_alarm=True,
                sentence="The mix of diagnoses is no longer that of the reference.",
            ),
            Check(
                name="embedding",
                statistic="auc",
                value=0.52,
                threshold=0.6,
                p_value=0.4,
                images=500,
                is_alarm=False,
                sentence="Images look like those of the reference.",
            ),
        ),
        "feedback": FeedbackScores(
            reviewed=75,
            histology=31,
            accuracy=make_interval(0.71, 0.1),
            malignant_sensitivity=make_interval(0.92, 0.06),
            ece=None,
            classes=(ClassFeedback(code="MEL", images=20, sensitivity=make_interval(0.8, 0.15)),),
            minimum=30,
            disagreements=("req-0007", "req-0011"),
        ),
        "comparisons": (
            Comparison(
                challenger="4",
                images=400,
                agreement=make_interval(0.88),
                reviewed=12,
                accuracy_difference=None,
                risk_difference=Interval(value=-0.01, low=-0.03, high=0.01),
            ),
        ),
        "alerts": (
            Alert(
                name="class_mix_drift",
                state="firing",
                severity="warning",
                at=START.isoformat(),
                value=0.31,
                message="The mix of diagnoses has changed.",
            ),
        ),
    }
    return MonitoringReport(**fields | changes)
