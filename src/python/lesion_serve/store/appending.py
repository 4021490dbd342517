"""Appending to the chain: alone with the log, durable on return, and several waiting entries in one commit.

Threads that wait while another commits are written together by whoever comes next, so that under load one fsync serves
many records; a single thread pays for nothing but its own.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import attrs
import sqlalchemy as sa

from lesion_serve.store.chain import START, Entry, columns_of, event_digest
from lesion_serve.store.database import Database
from lesion_serve.store.errors import StoreError
from lesion_serve.store.records import Kind, Receipt, Role
from lesion_serve.store.tables import erased, event, fact, feature

LARGEST_GROUP = 64

# Built once: it takes longer to build a statement than to run it.
_ADD_EVENT, _ADD_FACTS, _ADD_FEATURES = event.insert(), fact.insert(), feature.insert()
_HEAD = sa.select(event.c.position, event.c.digest).order_by(event.c.position.desc()).limit(1)
_PREDICTION = sa.select(event.c.position).where(
    event.c.request_id == sa.bindparam("request_id"),
    event.c.kind == Kind.PREDICTION.value,
    event.c.role == sa.bindparam("role"),
)
# Every prediction has this fact, and only the erasure of its person takes it: retention takes images.
_ERASED = sa.select(erased.c.by_position).where(
    erased.c.position == sa.bindparam("position"), erased.c.name == "image_sha256"
)


class Chain:
    """The log, while its transaction is alone with it."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        self.head = read_head(connection)

    def add(self, entry: Entry) -> Receipt:
        """Put an entry at the end. It is durable once the transaction has ended.

        Raises:
            StoreError: ``duplicate_request``, ``no_prediction``, ``erased``, ``bad_record``: nothing was added.
        """
        self._check(entry)
        try:
            columns, facts = columns_of(entry)
        except (TypeError, ValueError) as error:
            raise StoreError(f"The record is not JSON: {error}.", code="bad_record") from error
        position, previous = (self.head.position + 1, self.head.digest) if self.head else (1, START)
        digest = event_digest(previous, columns)
        self.connection.execute(_ADD_EVENT, {**columns, "position": position, "previous": previous, "digest": digest})
        if facts:
            self.connection.execute(_ADD_FACTS, [{**row, "position": position} for row in facts])
        if entry.features is not None:
            self.connection.execute(_ADD_FEATURES, {"position": position, "value": entry.features})
        self.head = Receipt(position=position, digest=digest)
        return self.head

    def _check(self, entry: Entry) -> None:
        if entry.kind is Kind.PREDICTION:
            require_new(self.connection, entry.request_id, entry.role)
            if entry.role == Role.SHADOW.value:  # may come in after its answer was erased
                self._require_not_erased(entry.request_id, _position(self.connection, entry.request_id))
        if entry.kind is Kind.FEEDBACK:
            position = _position(self.connection, entry.request_id)
            if position is None:
                raise StoreError(
                    f"There is no prediction {entry.request_id!r} to give feedback on.", code="no_prediction"
                )
            self._require_not_erased(entry.request_id, position)

    def _require_not_erased(self, request_id: str | None, position: int | None) -> None:
        if position is not None and self.connection.scalar(_ERASED, {"position": position}) is not None:
            raise StoreError(
                f"The person of request {request_id!r} was erased, so nothing more is written of it. Ask about the "
                "image anew.",
                code="erased",
            )


def require_new(connection: sa.Connection, request_id: str | None, role: str | None) -> None:
    """Make sure that there is no prediction under this id.

    Raises:
        StoreError: ``duplicate_request``.
    """
    if _position(connection, request_id, role) is not None:
        raise StoreError(
            f"Request {request_id!r} has a prediction ({role}) already. Give each request an id of its own.",
            code="duplicate_request",
        )


def _position(connection: sa.Connection, request_id: str | None, role: str | None = Role.ANSWERED.value) -> int | None:
    """Of a prediction; ``None`` where there is none."""
    return connection.scalar(_PREDICTION, {"request_id": request_id, "role": role})


def read_head(connection: sa.Connection) -> Receipt | None:
    """The end of the log; ``None`` where it is empty."""
    row = connection.execute(_HEAD).first()
    return None if row is None else Receipt(position=row.position, digest=row.digest)


def first_digest(connection: sa.Connection) -> str:
    """Of the first event: names a log for good, also in its copies. There is one once a store was opened."""
    return connection.scalars(sa.select(event.c.digest).order_by(event.c.position).limit(1)).one()


@attrs.define(eq=False)
class _Ticket:
    """An entry that waits, and what became of it."""

    entry: Entry
    receipt: Receipt | None = None
    error: BaseException | None = None

    @property
    def is_open(self) -> bool:
        return self.receipt is None and self.error is None


class Appender:
    """The only way into the log of a database, for all threads of a process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[_Ticket] = deque()
        self._turn = threading.Lock()
        self._is_closed = False
        self.head: Receipt | None = None

    def append(self, entry: Entry) -> Receipt:
        """Write one entry; it is on the disk when this returns. From any thread.

        Raises:
            StoreError: see there. The entry is not in the log, except that after ``store_failed`` and
                ``store_unreachable`` nobody knows.
        """
        ticket = _Ticket(entry)
        self._waiting.append(ticket)
        with self._turn:
            while ticket.is_open:
                self._write([self._waiting.popleft() for _ in range(min(len(self._waiting), LARGEST_GROUP))])
        if ticket.error is not None:
            raise ticket.error
        assert ticket.receipt is not None
        return ticket.receipt

    @contextmanager
    def writing(self) -> Iterator[Chain]:
        """Alone with the log, for what is more than one entry. All of it happens, or nothing."""
        with self._turn:
            self._require_open()
            with self._database.appending() as connection:
                chain = Chain(connection)
                yield chain
            self.head = chain.head

    def close(self) -> None:
        """Refuse what comes from now on, after what is being written."""
        with self._turn:
            self._is_closed = True

    def _require_open(self) -> None:
        if self._is_closed:
            raise StoreError("The prediction store was closed.", code="store_closed")

    def _write(self, group: list[_Ticket]) -> None:
        """One transaction. A refused entry stays out of it alone; a database that fails, fails all."""
        done: list[tuple[_Ticket, Receipt]] = []
        try:
            self._require_open()
            with self._database.appending() as connection:
                chain = Chain(connection)
                for ticket in group:
                    try:
                        done.append((ticket, chain.add(ticket.entry)))
                    except StoreError as error:
                        ticket.error = error
        except BaseException as error:
            for ticket in group:
                ticket.error = ticket.error or error
            if not isinstance(error, StoreError):
                raise
            return
        for ticket, receipt in done:
            ticket.receipt = receipt
        self.head = chain.head
