"""The database under the store: SQLite (WAL, synchronous FULL) or PostgreSQL, made and brought up to date on opening.

One program at a time makes tables: on SQLite behind a file lock beside the database, on PostgreSQL behind an advisory
lock. Who appends takes the write lock of the whole log before it reads the head: ``BEGIN IMMEDIATE`` on SQLite, another
advisory lock on PostgreSQL, which needs no more rights than to insert.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from filelock import FileLock, Timeout

from lesion_core.address import without_password
from lesion_serve.store.errors import StoreError, named_errors
from lesion_serve.store.tables import GUARDS

HEAD_REVISION = "0003"
REVISIONS = ("0001", "0002", HEAD_REVISION)
WAIT_S = 30.0
# Any two numbers that other programs on the same PostgreSQL do not use.
_APPEND_LOCK, _TABLES_LOCK = 0x6C6573696F6E01, 0x6C6573696F6E02


class Database:
    """One database, and how transactions begin in it."""

    def __init__(self, url: str) -> None:
        url = _with_driver(url)
        try:
            self.address = sa.make_url(url)
        except sa.exc.ArgumentError as error:
            raise StoreError(
                f"{without_password(url)!r} is no address of a database. Use sqlite:///FILE or "
                "postgresql+pg8000://USER:PASSWORD@HOST/NAME.",
                code="no_store",
            ) from error
        if self.address.get_backend_name() not in GUARDS:
            raise StoreError(
                f"The store runs on SQLite and PostgreSQL, not on {self.address.get_backend_name()!r}.", code="no_store"
            )
        self.url = url
        self.is_sqlite = self.address.get_backend_name() == "sqlite"
        if self.is_sqlite and self.address.database in (None, "", ":memory:"):
            raise StoreError(
                "The store needs a file: sqlite:///FILE. One in memory would keep nothing.", code="no_store"
            )
        try:
            with named_errors(url):
                self.engine = _sqlite_engine(url) if self.is_sqlite else _postgresql_engine(url)
        except ImportError as error:
            raise StoreError(
                f"The driver of {self.address.drivername}:// is not installed ({error}). Use postgresql+pg8000://, "
                "which is.",
                code="no_store",
            ) from error

    @property
    def path(self) -> Path | None:
        """The file of a SQLite database."""
        return Path(str(self.address.database)) if self.is_sqlite else None

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that sees one state of the database; it waits for nobody."""
        with named_errors(self.url), self.engine.connect() as plain:
            options: dict[str, Any] = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
            connection = plain.execution_options(**options)
            with connection.begin():
                yield connection

    @contextmanager
    def appending(self) -> Iterator[sa.Connection]:
        """A transaction that is alone with the log; durable when it has ended."""
        with named_errors(self.url), self.engine.connect() as plain:
            connection = plain.execution_options(lesion_begin="BEGIN IMMEDIATE") if self.is_sqlite else plain
            with connection.begin():
                if not self.is_sqlite:
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_APPEND_LOCK)))
                yield connection

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    def require(self) -> str:
        """Revision of the tables, which are there and known; nothing is made or changed.

        Raises:
            StoreError: ``no_store``, ``newer_store``, or the database refuses.
        """
        revision = self.revision()
        if revision is None:
            raise StoreError(
                f"There is no prediction store at {without_password(self.url)}. Name it with --store; the "
                "gateway makes one when it starts.",
                code="no_store",
            )
        if revision not in REVISIONS:
            raise StoreError(
                f"The prediction store {without_password(self.url)} has revision {revision!r}; this release knows "
                f"{', '.join(REVISIONS)}. Use the newer release of Lesion that wrote it.",
                code="newer_store",
            )
        return revision

    def prepare(self, *, create: bool) -> None:
        """Bring the tables up to date, whoever comes first.

        Args:
            create: make a database that does not exist; otherwise that is an error.
        Raises:
            StoreError: ``no_store``, ``newer_store``, or the database refuses.
        """
        if (create and self.revision() is None) or self.require() != HEAD_REVISION:
            self.migrate(HEAD_REVISION)

    def migrate(self, revision: str) -> None:
        """Run the migrations up to a revision, in one transaction."""
        with self._alone(), named_errors(self.url):
            if self.path is not None:
                self.path.touch(mode=0o600)  # subjects and answers are for our user's eyes only
                with self.bare() as connection:
                    # Stays in the file. It is set here, since two who do it at once do not wait for each other.
                    connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            with self.engine.connect() as plain:
                connection = plain.execution_options(lesion_begin="BEGIN IMMEDIATE")
                with connection.begin():
                    if not self.is_sqlite:
                        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_TABLES_LOCK)))
                    _run_migrations(connection, revision)

    def revision(self) -> str | None:
        """Of the tables as they are; ``None`` where there are none."""
        if self.path is not None and not self.path.exists():
            return None
        with self.reading() as connection:
            if not sa.inspect(connection).has_table("store_revision"):
                return None
            return connection.scalar(sa.text("SELECT version_num FROM store_revision"))

    def guards(self, connection: sa.Connection) -> set[str]:
        """The triggers that are there and at work."""
        query = (
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
            if self.is_sqlite
            else "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled IN ('O', 'A')"
        )
        return set(connection.scalars(sa.text(query)))

    @contextmanager
    def bare(self) -> Iterator[sa.Connection]:
        """Without a transaction, for what cannot be in one."""
        if self.is_sqlite:
            with named_errors(self.url), self.engine.connect() as plain:
                yield plain.execution_options(lesion_begin=None)
            return
        # A fresh connection: looking whether a pooled one still lives has begun a transaction already.
        engine = sa.create_engine(self.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool, hide_parameters=True)
        with named_errors(self.url), engine.connect() as plain:
            yield plain

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if self.path is None:
            yield
            return
        with named_errors(self.url):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock = FileLock(self.path.with_name(f"{self.path.name}.lock"), mode=0o600).acquire(timeout=WAIT_S)
        except Timeout as error:
            raise StoreError(
                f"Another program has been making the tables of {self.path} for {WAIT_S:.0f} s.", code="store_busy"
            ) from error
        with lock:
            yield


def _with_driver(url: str) -> str:
    """With the driver that comes along, where the address of a PostgreSQL names none."""
    return re.sub("^postgresql://", "postgresql+pg8000://", url)


def _run_migrations(connection: sa.Connection, revision: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _sqlite_engine(url: str) -> sa.Engine:
    engine = sa.create_engine(url, connect_args={"timeout": WAIT_S}, hide_parameters=True)

    @sa.event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, record: object) -> None:
        connection.isolation_level = None  # transactions begin below, and not when the driver thinks so
        for pragma in ("synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        statement = connection.get_execution_options().get("lesion_begin", "BEGIN")
        if statement is not None:
            connection.exec_driver_sql(statement)

    return engine


def _postgresql_engine(url: str) -> sa.Engine:
    engine = sa.create_engine(url, pool_pre_ping=True, hide_parameters=True)

    @sa.event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: object, arguments: list[Any], parameters: dict[str, Any]) -> Any:
        try:
            return dialect.connect(*arguments, **parameters)
        except TypeError as error:  # no user, or a parameter of another driver
            raise StoreError(
                f"The address {without_password(url)} has not what its driver needs: {error}. Use "
                "postgresql+pg8000://USER:PASSWORD@HOST/NAME.",
                code="store_unreachable",
            ) from error

    @sa.event.listens_for(engine, "connect")
    def set_up(connection: Any, record: object) -> None:
        cursor = connection.cursor()
        # An acknowledged record is on the disk, whatever the server's default is.
        cursor.execute("SET synchronous_commit = on")
        cursor.execute(f"SET lock_timeout = '{WAIT_S:.0f}s'")
        connection.commit()
        cursor.close()

    return engine
