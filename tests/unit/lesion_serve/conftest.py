"""Gateways in this process for the tests of what they do."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.gateways import GatewayUnderTest


@pytest.fixture
def gateway(tmp_path: Path) -> GatewayUnderTest:
    """Open to everyone."""
    return GatewayUnderTest(tmp_path)


@pytest.fixture
def guarded(tmp_path: Path) -> GatewayUnderTest:
    """Open to those with a key."""
    return GatewayUnderTest(tmp_path, with_keys=True)
