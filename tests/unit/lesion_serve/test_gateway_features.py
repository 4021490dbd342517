"""What monitoring compares, from a worker to the record: never to a client."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
import sqlalchemy as sa

from lesion_core.wire import DescribedPrediction, Features, Prediction, describe
from lesion_serve.archive import build_archive
from lesion_serve.engine.in_process import InProcessEngine
from lesion_serve.monitor.reading import read_sample, read_seen
from lesion_serve.request_headers import FEATURES
from lesion_serve.store import Window
from lesion_serve.store.tables import feature
from support.bundles import make_tiny_bundle, with_drift
from support.gateways import IMAGE, JPEG, GatewayUnderTest, deployed
from support.images import encoded_lesion
from support.samples import FEATURES as PROJECTED

TOLD = Features(embedding_base64="AAA=", probabilities=(1.0,), quality={"focus": None})


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GatewayUnderTest:
    """Its engine answers with features where it is asked for them, and says whether it was."""
    gateway = GatewayUnderTest(tmp_path)
    was_asked = gateway.engine.predict

    async def predict(image: bytes, *, headers: Mapping[str, str] | None = None, **given: Any) -> Prediction:
        answer = await was_asked(image, headers=headers, **given)
        return describe(answer, TOLD) if (headers or {}).get(FEATURES) == "true" else answer

    monkeypatch.setattr(gateway.engine, "predict", predict)
    return gateway


def rows(gateway: GatewayUnderTest) -> int:
    with gateway.store.database.reading() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(feature)) or 0


@pytest.mark.parametrize("form", [False, True])
def test_features_are_recorded_and_do_not_leave(gateway: GatewayUnderTest, form: bool) -> None:
    """Of one image, and of those of a form; nor are they in what is looked up later."""
    request: dict[str, object] = (
        {"files": [("images", ("a.jpg", IMAGE, "image/jpeg"))] * 2, "content": None, "headers": {}} if form else {}
    )
    answer = gateway.ask(**request)

    assert answer.status_code == 200
    assert "features" not in answer.text
    assert "embedding" not in answer.text
    assert rows(gateway) == len(gateway.kept) == (2 if form else 1)
    found = gateway.send("GET", f"/v1/predictions/{gateway.kept[0].request_id}")
    assert found.status_code == 200
    assert "embedding" not in found.text


def test_a_client_s_wish_for_features_changes_nothing(gateway: GatewayUnderTest) -> None:
    """The gateway asks for itself."""
    answer = gateway.ask(headers={**JPEG, FEATURES: "true"})

    assert answer.status_code == 200
    assert "embedding" not in answer.text


def test_a_challenger_in_the_shadow_is_described_too(gateway: GatewayUnderTest) -> None:
    """So that its drift can be seen before it answers."""
    assert gateway.deployment is not None
    gateway.deployment = attrs.evolve(gateway.deployment, challenger=deployed("2"), shadow=True)

    gateway.ask()

    assert {one.model.version for one in gateway.kept} == {"1", "2"}
    assert rows(gateway) == 2


def test_a_worker_s_features_come_through_the_engine_into_the_report(tmp_path: Path) -> None:
    """The whole way: archive, handler, engine, gateway, store, sample."""
    bundle = with_drift(make_tiny_bundle(tmp_path / "plain"), tmp_path / "bundle")
    engine = InProcessEngine()
    engine.load(build_archive(bundle.folder, tmp_path / "model.mar", version="1"))
    try:
        gateway = GatewayUnderTest(tmp_path)
        gateway.asking._engine = engine
        answer = gateway.ask(content=encoded_lesion())
    finally:
        engine.stop()

    seen = read_seen(gateway.store.database, Window())
    sample = read_sample(gateway.store.database, seen)
    assert answer.status_code == 200
    assert not isinstance(gateway.kept[0].prediction, DescribedPrediction)
    assert sample is not None
    assert sample.embeddings.shape == (1, PROJECTED)
    assert sample.probabilities[0] == pytest.approx([one["probability"] for one in answer.json()["probabilities"]])
    assert sample.strangeness[0] == pytest.approx(answer.json()["out_of_distribution"]["score"])
    assert sample.quality["shorter_side_px"][0] == 150
