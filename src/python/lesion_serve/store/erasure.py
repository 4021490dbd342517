"""Forgetting, without breaking the chain: a subject's personal facts, and images that are too old.

An erasure is an event that names what it erases and not whom, in one transaction with the deletion itself. Files of
images are deleted before it ends; a crash in between leaves records whose file is gone, and the same erasure, repeated,
finds them and finishes. The other way round it would leave files that no record names any more, and that older copies
of the database can still open. At the end the disk is made to forget as well (``scrubbing``); where it cannot be, the
erasure says so, and the same one, repeated, tries again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import sqlalchemy as sa

from lesion_serve.store.appending import Appender, Chain
from lesion_serve.store.chain import Entry, stamp
from lesion_serve.store.database import Database
from lesion_serve.store.errors import StoreError
from lesion_serve.store.images import ImageStore, file_of
from lesion_serve.store.records import Kind, Principal
from lesion_serve.store.scrubbing import scrub
from lesion_serve.store.tables import erased, event, fact, feature

_GROUP = 200


@attrs.frozen(kw_only=True)
class Erasure:
    """What was erased.

    Attributes:
        events: of which something was.
        facts: that were personal.
        images: among the facts.
        orphans: files that were left where an image could not be recorded; only ``erase_old_images`` looks for them.
        not_scrubbed: where what is erased – also what was erased before – can still be read from a disk, why, and what
            to do; ``None`` where it cannot.
    """

    events: int
    facts: int
    images: int
    orphans: int = 0
    not_scrubbed: str | None = None


def erase_subject(
    database: Database, appender: Appender, images: ImageStore | None, subject: str, principal: Principal, reason: str
) -> Erasure:
    """Forget a person: the subject, the image, its fingerprint and features, the file name, comments on the answers.

    What stays: that somebody asked at that time, and the answer.

    Raises:
        StoreError: ``no_image``: the person has kept images, and ``images`` does not say where.
    """

    def choose(connection: sa.Connection) -> Sequence[sa.Row[Any]]:
        mine = (
            sa.select(event.c.request_id)
            .join(fact)
            .where(fact.c.name == sa.literal_column("'subject'"), fact.c.value == subject)
            .order_by(event.c.position)
            .limit(_GROUP)
        )
        requests = list(connection.scalars(mine))
        query = sa.select(fact).join(event).where(event.c.request_id.in_(requests))
        return connection.execute(query.order_by(fact.c.position, fact.c.name)).all()

    content = {"principal": attrs.asdict(principal), "reason": reason}
    return _erase(database, appender, images, Kind.ERASURE, content, choose)


def erase_request(
    database: Database, appender: Appender, images: ImageStore | None, request: str, principal: Principal, reason: str
) -> Erasure:
    """Forget what ``erase_subject`` forgets, of one request: its answer, its shadows, and comments on it.

    Raises:
        StoreError: ``no_image``: its image is kept, and ``images`` does not say where.
    """

    def choose(connection: sa.Connection) -> Sequence[sa.Row[Any]]:
        query = sa.select(fact).join(event).where(event.c.request_id == request)
        return connection.execute(query.order_by(fact.c.position, fact.c.name)).all()

    content = {"principal": attrs.asdict(principal), "reason": reason}
    return _erase(database, appender, images, Kind.ERASURE, content, choose)


def erase_old_images(
    database: Database,
    appender: Appender,
    images: ImageStore,
    older_than_days: float,
    principal: Principal,
    unsure: Collection[str] = (),
) -> Erasure:
    """Forget the images of predictions that were asked longer ago than so many days, and their features.

    ``unsure`` are files of images that the caller has written, and does not know whether their record was.
    """
    before = stamp(datetime.now(UTC) - timedelta(days=older_than_days))

    def choose(connection: sa.Connection) -> Sequence[sa.Row[Any]]:
        query = sa.select(fact).join(event).where(fact.c.name == sa.literal_column("'image'"), event.c.at < before)
        return connection.execute(query.order_by(fact.c.position).limit(_GROUP)).all()

    content = {"principal": attrs.asdict(principal), "before": before, "older_than_days": older_than_days}
    done = _erase(database, appender, images, Kind.RETENTION, content, choose)
    unrecorded = set(unsure) - known_files(database) if unsure else set()
    return attrs.evolve(done, orphans=images.remove_leftovers(unrecorded))


def erase_old_features(database: Database, appender: Appender, older_than_days: float) -> Erasure:
    """Forget what monitoring keeps of images that were sent longer ago than so many days; of so many ``events``.

    The chain never knew of it, so it does not say that it is gone.
    """
    before = stamp(datetime.now(UTC) - timedelta(days=older_than_days))
    old = sa.select(event.c.position).where(event.c.kind == Kind.PREDICTION.value, event.c.at < before)
    with appender.writing() as chain:
        count = chain.connection.execute(feature.delete().where(feature.c.position.in_(old))).rowcount
    return Erasure(events=count, facts=0, images=0, not_scrubbed=scrub(database))


def _erase(
    database: Database,
    appender: Appender,
    images: ImageStore | None,
    kind: Kind,
    content: Mapping[str, Any],
    choose: Callable[[sa.Connection], Sequence[sa.Row[Any]]],
) -> Erasure:
    """A transaction for each group, until nothing is left to choose."""
    done: list[tuple[int, str]] = []
    files = 0
    try:
        while True:
            with appender.writing() as chain:
                rows = choose(chain.connection)
                sealed = [row.value for row in rows if row.name == "image"]
                if sealed and images is None:
                    raise StoreError(
                        "Kept images belong to what is to be erased. Name their folder with --images.", code="no_image"
                    )
                if rows:
                    _forget(chain, kind, content, [(row.position, row.name) for row in rows])
                for fields in sealed:
                    assert images is not None
                    images.remove(file_of(fields))
            if not rows:
                break
            files += len(sealed)
            done += [(row.position, row.name) for row in rows]
    finally:
        # Also where nothing is left to erase: an earlier run may not have come to this.
        not_scrubbed = scrub(database)
    events = len({position for position, _ in done})
    return Erasure(events=events, facts=len(done), images=files, not_scrubbed=not_scrubbed)


def _forget(chain: Chain, kind: Kind, content: Mapping[str, Any], facts: list[tuple[int, str]]) -> None:
    """The event first: the guard of the table wants to see the erasure before it lets a row go."""
    entry = Entry(at=datetime.now(UTC), kind=kind, content={**content, "erased": [list(item) for item in facts]})
    by_position = chain.add(entry).position
    rows = [{"position": position, "name": name, "by_position": by_position} for position, name in facts]
    chain.connection.execute(erased.insert(), rows)
    chain.connection.execute(
        fact.delete().where(fact.c.position == sa.bindparam("at_position"), fact.c.name == sa.bindparam("of_name")),
        [{"at_position": position, "of_name": name} for position, name in facts],
    )
    forgotten = {position for position, _ in facts}
    chain.connection.execute(feature.delete().where(feature.c.position.in_(forgotten)))


def known_files(database: Database) -> set[str]:
    """Names of the files of all images that are kept."""
    with database.reading() as connection:
        values = connection.scalars(sa.select(fact.c.value).where(fact.c.name == sa.literal_column("'image'")))
        return {file_of(value) for value in values}
