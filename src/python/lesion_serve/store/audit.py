"""Does the store still hold what was written? Reads everything; changes nothing.

Checked are, in this order for each event: its place, its link to the event before, its own digest, its personal facts
against their commitments, and whether what is gone was erased by an event of the chain; then the anchors, the triggers,
and the kept images. The first finding names the first broken position.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import sqlalchemy as sa

from lesion_serve.store.anchors import Anchor, AnchorFile, no_anchors
from lesion_serve.store.chain import START, commitment, event_digest
from lesion_serve.store.database import Database
from lesion_serve.store.errors import StoreError
from lesion_serve.store.images import ImageStore, file_of
from lesion_serve.store.records import Kind
from lesion_serve.store.tables import GUARDS, erased, event, fact

_PAGE = 1000


@attrs.frozen(kw_only=True)
class Finding:
    """Something that is not as it was written.

    Attributes:
        code: ``altered``, ``missing``, ``reordered``, ``behind_anchor``, ``differs_from_anchor``, ``anchors_missing``,
            ``anchors_unreadable``, ``anchor_damaged``, ``fact_altered``, ``fact_missing``, ``fact_unknown``,
            ``fact_returned``, ``erasure_altered``, ``guard_missing``, ``image_missing``, ``image_damaged``.
        position: of the event; ``None`` where it is about the whole store.
        message: for people.
    """

    code: str
    position: int | None
    message: str


@attrs.frozen(kw_only=True)
class Verification:
    """What an audit saw. ``remarks`` are facts that an auditor wants to know, and no finding."""

    events: int
    head: str
    anchors: int
    images: int
    findings: tuple[Finding, ...]
    remarks: tuple[str, ...]

    @property
    def is_intact(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


def verify(database: Database, anchors: AnchorFile, images: ImageStore | None = None) -> Verification:
    """Check the whole store.

    Args:
        database: is there.
        anchors: the second place.
        images: with a key, every kept image is decrypted; without one, its file is looked for; ``None`` checks none.
    Raises:
        StoreError: ``no_store``, ``newer_store``, or the database refuses.
    """
    database.require()
    # Before the database: what is anchored while this runs is no finding.
    known, damaged, unread = _read(anchors)
    with database.reading() as connection:
        walk = _Walk(connection, known, images)
        walk.run()
        findings = walk.findings
        findings += _check_guards(database, connection)
    if images is not None and (unknown := images.count_unknown(walk.files)):
        walk.remarks.append(
            f"{unknown} images in {images.folder} belong to no record here: a crash left them, or they are younger "
            "than this copy of the database. No command deletes them."
        )
    findings += [
        Finding(code="anchor_damaged", position=None, message=f"Line {number} of {anchors.path} is no anchor.")
        for number in damaged
    ]
    findings += unread or _check_ends(walk, known, anchors.path)
    return Verification(
        events=walk.count,
        head=walk.previous,
        anchors=len(known),
        images=walk.images_seen,
        findings=tuple(sorted(findings, key=lambda found: (found.position is None, found.position or 0))),
        remarks=tuple(walk.remarks),
    )


def _read(anchors: AnchorFile) -> tuple[list[Anchor], list[int], list[Finding]]:
    """Anchors, lines that are none, and the finding where the file cannot be read."""
    try:
        return *anchors.read(), []
    except StoreError as error:
        return [], [], [Finding(code="anchors_unreadable", position=None, message=error.message)]


def check_last_anchor(connection: sa.Connection, last: Anchor, path: Path) -> None:
    """A quick look on opening: is the last anchored head still in the database?

    Raises:
        StoreError: ``behind_anchor``.
    """
    digest = connection.scalar(sa.select(event.c.digest).where(event.c.position == last.position))
    if digest != last.digest:
        state = "is not there" if digest is None else "is another one"
        raise StoreError(
            f"The anchors {path} know event {last.position} of {last.at}, which in the database {state}: it was cut "
            "short, rewritten, brought back from a backup, or belongs to other anchors. Look with 'lesion-serve audit "
            "verify'; to go on deliberately, move the anchors to a safe place and start anew.",
            code="behind_anchor",
        )


class _Walk:
    """One pass over the log."""

    def __init__(self, connection: sa.Connection, anchors: Sequence[Anchor], images: ImageStore | None) -> None:
        self.connection = connection
        self.images = images
        self.anchored: dict[int, Anchor] = {}
        self.findings: list[Finding] = []
        for anchor in anchors:
            earlier = self.anchored.setdefault(anchor.position, anchor)
            if earlier.digest != anchor.digest:
                self._find(
                    "differs_from_anchor", anchor.position, f"two anchors, of {earlier.at} and {anchor.at}, differ"
                )
        self.remarks: list[str] = []
        self.previous = START
        self.position = self.count = self.images_seen = 0
        self.files = set[str]()
        self.erasures = _erasures(connection)

    def run(self) -> None:
        """Check all events and what belongs to them."""
        for rows, facts in _pages(self.connection):
            for row in rows:
                self._check_event(row)
                self._check_facts(row, facts.pop(row["position"], {}))
        stray = sa.select(fact.c.position, fact.c.name).outerjoin(event).where(event.c.position.is_(None))
        for line in self.connection.execute(stray):
            self._find("fact_unknown", line.position, f"the personal fact {line.name!r} has no event")
        self._check_erased_rows()

    def _find(self, code: str, position: int | None, message: str) -> None:
        self.findings.append(Finding(code=code, position=position, message=f"Event {position}: {message}."))

    def _check_event(self, row: Mapping[Any, Any]) -> None:
        position = row["position"]
        if position != self.position + 1:
            gone = f"{self.position + 1}" + (f" to {position - 1}" if position - 1 > self.position + 1 else "")
            self._find("missing", self.position + 1, f"not there (missing: {gone})")
        elif row["previous"] != self.previous:
            self._find_broken_link(row)
        try:
            is_whole = event_digest(row["previous"], row) == row["digest"]
        except (TypeError, AttributeError):  # bytes where text was
            is_whole = False
        if not is_whole:
            self._find("altered", position, "its content is not what was written")
        anchor = self.anchored.get(position)
        if anchor is not None and anchor.digest != row["digest"]:
            self._find("differs_from_anchor", position, f"rewritten: the anchor of {anchor.at} has another digest")
        if row["kind"] == Kind.OPENED.value and position > 1:
            self.remarks.append(f"The anchors began anew at event {position}, {row['at']}.")
        self.position, self.previous = position, row["digest"]
        self.count += 1

    def _find_broken_link(self, row: Mapping[Any, Any]) -> None:
        """Say which event should stand before this one, if it is there."""
        before = self.connection.scalar(sa.select(event.c.position).where(event.c.digest == row["previous"]).limit(1))
        if before is not None or row["previous"] == START:
            belongs = f"after the event that now stands at {before}" if before else "at the beginning"
            self._find("reordered", row["position"], f"does not follow the event before it; it belongs {belongs}")
        else:
            self._find("missing", row["position"], "the event that it follows is gone, or was altered with its digest")

    def _check_facts(self, row: Mapping[Any, Any], facts: Mapping[str, Mapping[Any, Any]]) -> None:
        position = row["position"]
        try:
            promised: dict[str, str] = json.loads(row["content"]).get("facts", {})
            names = set(promised)
        except (ValueError, TypeError, AttributeError):
            return  # found already: the content is not what was written
        for name in sorted(names | set(facts)):
            here, was_erased = facts.get(name), (position, name) in self.erasures
            if name not in promised:
                self._find("fact_unknown", position, f"the personal fact {name!r} was never written with it")
            elif here is None and not was_erased:
                self._find("fact_missing", position, f"the personal fact {name!r} is gone, and no erasure says so")
            elif here is not None and was_erased:
                self._find("fact_returned", position, f"the personal fact {name!r} is there, although it was erased")
            elif here is not None and not _fits(here, promised[name]):
                self._find("fact_altered", position, f"the personal fact {name!r} is not what was written")
            elif here is not None and name == "image" and self.images is not None:
                self._check_image(row, facts)

    def _check_image(self, row: Mapping[Any, Any], facts: Mapping[str, Mapping[Any, Any]]) -> None:
        assert self.images is not None
        self.images_seen += 1
        sealed, fingerprint = facts["image"]["value"], facts.get("image_sha256")
        self.files.add(file_of(sealed))
        try:
            if self.images.key is not None and fingerprint is not None:
                self.images.open(sealed, request_id=row["request_id"], image_sha256=fingerprint["value"])
            elif not self.images.path(file_of(sealed)).is_file():
                raise StoreError(f"Image {file_of(sealed)} is not in {self.images.folder}.", code="no_image")
        except StoreError as error:
            if error.code == "image_key":
                raise
            code = "image_missing" if error.code == "no_image" else "image_damaged"
            self.findings.append(Finding(code=code, position=row["position"], message=error.message))

    def _check_erased_rows(self) -> None:
        """The table that the triggers look into has to say what the chain says."""
        rows = {(row.position, row.name): row.by_position for row in self.connection.execute(sa.select(erased))}
        for (position, name), by in sorted(rows.items() ^ self.erasures.items()):
            self._find("erasure_altered", position, f"table and chain differ on the erasure of {name!r} by event {by}")


def _fits(row: Mapping[Any, Any], promised: str) -> bool:
    try:
        return commitment(row["salt"], row["name"], row["value"]) == promised
    except (TypeError, ValueError):
        return False


def _erasures(connection: sa.Connection) -> dict[tuple[int, str], int]:
    """Position and name of every fact that the chain says was erased, and the event that says it."""
    kinds = (Kind.ERASURE.value, Kind.RETENTION.value)
    found: dict[tuple[int, str], int] = {}
    for row in connection.execute(sa.select(event.c.position, event.c.content).where(event.c.kind.in_(kinds))):
        try:
            for position, name in json.loads(row.content)["erased"]:
                found[position, name] = row.position
        except (ValueError, TypeError, KeyError):
            continue  # an altered event, which the walk finds
    return found


def _pages(
    connection: sa.Connection,
) -> Iterator[tuple[Sequence[Mapping[Any, Any]], dict[int, dict[str, Mapping[Any, Any]]]]]:
    last = None
    while True:
        query = sa.select(event).order_by(event.c.position).limit(_PAGE)
        if last is not None:
            query = query.where(event.c.position > last)
        rows = connection.execute(query).mappings().all()
        if not rows:
            return
        first, last = rows[0]["position"], rows[-1]["position"]
        facts: dict[int, dict[str, Mapping[Any, Any]]] = {}
        for row in connection.execute(sa.select(fact).where(fact.c.position.between(first, last))).mappings():
            facts.setdefault(row["position"], {})[row["name"]] = row
        yield rows, facts


def _check_guards(database: Database, connection: sa.Connection) -> list[Finding]:
    missing = GUARDS["sqlite" if database.is_sqlite else "postgresql"] - database.guards(connection)
    return [
        Finding(
            code="guard_missing", position=None, message=f"The trigger {name} is not at work: rows could be altered."
        )
        for name in sorted(missing)
    ]


def _check_ends(walk: _Walk, anchors: Sequence[Anchor], path: Path) -> list[Finding]:
    if not anchors:
        return [Finding(code="anchors_missing", position=None, message=no_anchors(path).message)]
    last = max(anchors, key=lambda anchor: anchor.position)
    if last.position > walk.position:
        message = (
            f"The database ends at event {walk.position}, behind its anchor: {last.position} at {last.at}. "
            f"{last.position - walk.position} events at least are gone from its end."
        )
        return [Finding(code="behind_anchor", position=walk.position + 1, message=message)]
    return []
