"""Addresses, as they may be shown."""

from __future__ import annotations

import pytest

from lesion_core.address import without_password


@pytest.mark.parametrize(
    ("shown", "hidden"),
    [
        ("postgresql+pg8000://lesion:hunter2@db:5432/x", "postgresql+pg8000://***@db:5432/x"),
        ("https://u:hunter2/@hunter2@host/", "https://***@host/"),
        ("postgresql://db/x?user=a&password=hunter2&sslmode=on", "postgresql://db/x?user=a&password=***&sslmode=on"),
        ("could not reach 'http://u:hunter2@host' twice", "could not reach 'http://***@host' twice"),
        ("sqlite:////folder/mlflow.db", "sqlite:////folder/mlflow.db"),
    ],
)
def test_an_address_is_shown_without_its_password(shown: str, hidden: str) -> None:
    """Wherever it stands in a message."""
    assert without_password(shown) == hidden
