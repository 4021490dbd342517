"""MLflow's tables, made once for each process of tests instead of once for each database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from threading import Lock

import pytest
import sqlalchemy as sa
from mlflow.store.db import utils


@contextmanager
def tables_made_once() -> Iterator[None]:
    """A new SQLite database of MLflow becomes a copy of the first one.

    MLflow brings each one up to date by some sixty migrations, of which every statement waits for the disk: seconds.
    """
    migrate, one_at_a_time = utils._upgrade_db, Lock()
    with closing(sqlite3.connect(":memory:", check_same_thread=False)) as first, pytest.MonkeyPatch.context() as patch:

        def copy_or_migrate(engine: sa.Engine) -> None:
            with one_at_a_time:
                is_first = first.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
                if is_first or engine.dialect.name != "sqlite":
                    migrate(engine)
                if engine.dialect.name == "sqlite":
                    with closing(engine.raw_connection()) as pooled:
                        new = pooled.driver_connection
                        assert isinstance(new, sqlite3.Connection)
                        source, copy = (new, first) if is_first else (first, new)
                        source.backup(copy)

        patch.setattr(utils, "_upgrade_db", copy_or_migrate)
        yield
