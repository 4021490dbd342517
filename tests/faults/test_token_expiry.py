"""TorchServe's tokens end at a time of their own: none that we hand out does while its server is worth running."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lesion_core.processes import free_port
from lesion_serve.engine import torchserve_layout
from lesion_serve.engine.torchserve_instance import TorchServeInstance
from lesion_serve.engine.torchserve_layout import TorchServeSettings
from support.waiting import wait_for

YEARS = timedelta(days=365)


def expiry(instance: TorchServeInstance) -> datetime:
    """When the first of its tokens ends, as TorchServe itself says."""
    keys = json.loads((instance.folder / "key_file.json").read_text())
    return min(datetime.fromisoformat(keys[name]["expiration time"]) for name in ("inference", "management"))


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[TorchServeInstance]:
    """One without a model."""
    instance = TorchServeInstance.start(TorchServeSettings(port=free_port()), serving=tmp_path)
    yield instance
    instance.stop()


@pytest.fixture
def a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchserve_layout, "TEN_YEARS_MIN", 1)


def test_tokens_last_for_years_and_a_new_start_makes_new_ones(instance: TorchServeInstance) -> None:
    """No soak outlives them."""
    first, token = expiry(instance), instance.token
    assert first > datetime.now(UTC) + 9 * YEARS

    instance.process.stop()
    instance.start_process()

    assert expiry(instance) > first
    assert instance.token != token


def test_a_token_whose_time_is_over_is_refused_until_the_next_start(
    a_minute: None, instance: TorchServeInstance
) -> None:
    """What would befall every request after TorchServe's own hour: it keeps to the time that it states."""
    assert datetime.now(UTC) < expiry(instance) < datetime.now(UTC) + timedelta(minutes=2)
    assert instance.management.is_up()

    wait_for(lambda: datetime.now(UTC) > expiry(instance) + timedelta(seconds=1))

    assert not instance.management.is_up()
    instance.process.stop()
    instance.start_process()
    assert instance.management.is_up()
