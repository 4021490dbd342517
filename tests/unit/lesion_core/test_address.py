"""Addresses, as they may be shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from lesion_core.address import sqlite_address, sqlite_file, without_password


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


def test_the_file_of_a_database_is_found_again(tmp_path: Path) -> None:
    """Also where its name has what an address writes otherwise."""
    odd = tmp_path / "100 % sure?" / "a%20b.db"

    assert sqlite_file(sqlite_address(odd)) == odd
    assert sqlite_file(f"sqlite:///{tmp_path}/a.db?timeout=60") == tmp_path / "a.db"


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:5001", "postgresql+pg8000://host/x", "sqlite://", "sqlite:///:memory:"]
)
def test_what_is_no_file_has_none(address: str) -> None:
    """Servers, and databases in memory."""
    assert sqlite_file(address) is None
