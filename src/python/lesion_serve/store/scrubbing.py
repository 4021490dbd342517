"""Making the space of deleted rows forget them, and saying where that could not be done.

SQLite overwrites a deleted row at once (``secure_delete``), but in its write-ahead log: the database's file has the row
until the log is copied into it and emptied, which it is not while another program reads an older state. PostgreSQL
keeps a deleted row until ``VACUUM`` frees its space, which it does not while another session sees an older state, nor
for a role that does not own the tables.
"""

from __future__ import annotations

import time

import sqlalchemy as sa
import structlog

from lesion_serve.store.database import WAIT_S, Database
from lesion_serve.store.errors import StoreError

TRIES, PAUSE_S = 5, 0.2
# Who appends waits for so long at most, each time: SQLite lets nobody write while the log is being emptied.
LOCKED_MS = 1000

_OWNS = sa.text(
    "SELECT bool_and(pg_has_role(relowner, 'USAGE')) FROM pg_class "
    "WHERE oid IN (to_regclass('fact'), to_regclass('feature'))"
)
_NOW = sa.text("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
_WHO_SEE_OLDER = sa.text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
    "AND age(backend_xmin) > pg_snapshot_xmax(pg_current_snapshot())::text::bigint - :now"
)

log = structlog.get_logger()


def scrub(database: Database) -> str | None:
    """Forget deleted rows as far as the database can, see the package's docstring; returns what is left, in words.

    Raises nothing that a database does: the rows are deleted already.
    """
    try:
        with database.bare() as connection:
            left = _empty_log(connection, database) if database.is_sqlite else _vacuum(connection)
    except StoreError as error:
        left = error.message
    if left is None:
        return None
    log.warning("not_scrubbed", reason=left)
    return f"{left} Repeat the command then; what is erased is gone once this is not said any more."


def _empty_log(connection: sa.Connection, database: Database) -> str | None:
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {LOCKED_MS}")
    try:
        for _ in range(TRIES):
            if not connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]:
                return None
            time.sleep(PAUSE_S)
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {WAIT_S * 1000:.0f}")
    return (
        f"{database.path} and its -wal file still hold what was erased, since another program reads the database: end "
        "it, or wait for it (a backup, an export, 'audit verify')."
    )


def _vacuum(connection: sa.Connection) -> str | None:
    now = connection.scalar(_NOW)
    are_there = True
    for _ in range(TRIES):
        if not (are_there := bool(connection.scalar(_WHO_SEE_OLDER, {"now": now}))):
            break
        time.sleep(PAUSE_S)
    connection.exec_driver_sql("VACUUM fact, feature")
    if not connection.scalar(_OWNS):
        return "The tables still hold what was erased: let their owner run 'VACUUM fact, feature'."
    if are_there:
        return "The tables still hold what was erased, since another session sees an older state: end it, or wait."
    return None
