"""What the gateway counts, as Prometheus scrapes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from lesion_core.wire import ConformalSet, OutOfDistribution, Prediction
from lesion_serve.store import StoreError
from support.fake_service import make_finding, make_prediction
from support.gateways import GatewayUnderTest


def test_what_is_in_progress_and_what_is_loaded_is_scraped_as_it_is(
    gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither always zero, nor of a version that went."""
    was_asked, meanwhile = gateway.engine.predict, list[str]()

    async def predict(image: bytes, **given: Any) -> Prediction:
        meanwhile.append(gateway.metrics.text().decode())
        return await was_asked(image, **given)

    monkeypatch.setattr(gateway.engine, "predict", predict)
    gateway.engine.loaded = ("1", "2")
    before = gateway.send("GET", "/metrics").text
    gateway.ask()
    gateway.engine.loaded = ("2",)
    after = gateway.send("GET", "/metrics").text

    assert "lesion_in_progress 1.0" in meanwhile[0]
    assert "lesion_in_progress 0.0" in after
    assert 'lesion_ready_workers{version="1"} 1.0' in before
    assert 'lesion_ready_workers{version="1"}' not in after
    assert 'lesion_ready_workers{version="2"} 1.0' in after


def test_anchors_that_cannot_be_written_are_told_to_who_scrapes(gateway: GatewayUnderTest, tmp_path: Path) -> None:
    """Answers go on."""
    before = gateway.send("GET", "/metrics").text
    (tmp_path / "anchors" / "heads.jsonl").unlink()
    assert gateway.ask().status_code == 200
    with pytest.raises(StoreError, match="are gone"):
        gateway.store.close()

    assert "lesion_anchor_failed 0.0" in before
    assert "lesion_anchor_failed 1.0" in gateway.metrics.text().decode()


def test_what_was_counted_can_be_scraped(gateway: GatewayUnderTest) -> None:
    """By route, not by address: those may hold ids without an end."""
    gateway.ask()
    gateway.send("GET", "/v1/unheard-of/0815")

    text = gateway.send("GET", "/metrics").text

    assert 'lesion_requests_total{route="/v1/predictions",status="200"} 1.0' in text
    assert 'lesion_requests_total{route="unmatched",status="404"} 1.0' in text
    assert "0815" not in text


def test_what_was_answered_is_counted_by_version(gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Classes, risk bands, strange images, open answers, photographs, and what each stage took."""
    strange = make_prediction(
        out_of_distribution=OutOfDistribution(detector="mahalanobis", score=20.0, threshold=16.5, is_outside=True),
        conformal_set=ConformalSet(codes=("NV",), coverage=0.9),
        quality=(make_finding(grade="reject"),),
        risk=None,
        timings_ms={"network": 12.0},
    )
    answers = [make_prediction(timings_ms={"decode": 3.0, "network": 30.0}), strange]

    async def predict(image: bytes, *, request_id: str, **given: Any) -> Prediction:
        return attrs.evolve(answers.pop(0), request_id=request_id)

    monkeypatch.setattr(gateway.engine, "predict", predict)
    gateway.engine.restarted = {"worker": 2, "torchserve": 1}
    gateway.ask()
    gateway.ask()

    text = gateway.send("GET", "/metrics").text.splitlines()

    assert {
        'lesion_risk_bands_total{band="high",version="3"} 1.0',
        'lesion_outside_total{version="3"} 1.0',
        'lesion_undecided_total{version="3"} 1.0',
        'lesion_quality_total{grade="ok",version="3"} 1.0',
        'lesion_quality_total{grade="reject",version="3"} 1.0',
        'lesion_stage_seconds_bucket{le="0.025",stage="network",version="3"} 1.0',
        'lesion_stage_seconds_count{stage="network",version="3"} 2.0',
        'lesion_stage_seconds_count{stage="decode",version="3"} 1.0',
        'lesion_restarts_total{part="worker"} 2.0',
        'lesion_restarts_total{part="torchserve"} 1.0',
        "lesion_expected_wait_seconds 0.0",
    } <= set(text)
