"""The store as the gateway sees it: append, look up, read, close."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import structlog
from filelock import FileLock, Timeout

from lesion_core.address import sqlite_address
from lesion_core.service import Page
from lesion_core.wire import Features
from lesion_core.workspace import Workspace
from lesion_serve.store.anchors import EVERY_RECORDS, EVERY_S, AnchorFile, Anchoring, no_anchors
from lesion_serve.store.appending import Appender, Chain, first_digest, require_new
from lesion_serve.store.audit import check_last_anchor
from lesion_serve.store.chain import Entry, alert_entry, feedback_entry, prediction_entry
from lesion_serve.store.database import WAIT_S, Database
from lesion_serve.store.erasure import (
    Erasure,
    erase_old_features,
    erase_old_images,
    erase_request,
    erase_subject,
    known_files,
)
from lesion_serve.store.errors import StoreError, named_errors
from lesion_serve.store.images import ImageStore, file_of
from lesion_serve.store.listing import Search, list_predictions
from lesion_serve.store.reading import (
    Window,
    facts_of,
    find_features,
    find_prediction,
    read_alerts,
    read_predictions,
)
from lesion_serve.store.records import (
    AlertRecord,
    FeedbackRecord,
    Kind,
    PredictionRecord,
    Principal,
    Receipt,
    Role,
    StoredPrediction,
)

log = structlog.get_logger()


def default_url(workspace: Workspace) -> str:
    """``predictions.db`` of a workspace."""
    return sqlite_address(workspace.root / "predictions.db")


def default_anchors(url: str, workspace: Workspace) -> Path:
    """The anchors of a database: in a folder beside a SQLite file, in the workspace for PostgreSQL."""
    path = Database(url).path
    home = workspace.root / "predictions" if path is None else path.absolute().with_suffix("")
    return home.with_name(f"{home.name}-anchors") / "heads.jsonl"


class PredictionStore:
    """One database, open for appending from all threads of this process. Other processes may have it open as well."""

    def __init__(self, database: Database, appender: Appender, anchoring: Anchoring, images: ImageStore | None) -> None:
        self.database = database
        self.images = images
        self._appender = appender
        self._anchoring = anchoring
        # Files of images of which nobody knows whether their record was written.
        self._unsure = set[str]()

    @classmethod
    def open(
        cls,
        url: str,
        *,
        anchors: Path,
        images: ImageStore | None = None,
        create: bool = True,
        anchor_every_records: int = EVERY_RECORDS,
        anchor_every_s: float = EVERY_S,
    ) -> PredictionStore:
        """Open a store; its tables are made or brought up to date.

        Args:
            url: ``sqlite:///FILE`` or ``postgresql+pg8000://…``.
            anchors: file for the heads of the chain, away from the database.
            images: where images are kept, in a folder that is this store's alone; ``None`` keeps none.
            create: make what is missing, anchors too, which the chain says; otherwise that is an error.
            anchor_every_records: so many records at most are newer than the last anchor …
            anchor_every_s: … and so many seconds, while the program runs.
        Raises:
            StoreError: ``behind_anchor``: records that were there once are missing; ``foreign_images``: the images
                are another store's; ``no_store``, ``newer_store``, ``anchors_missing``, ``anchor_failed``, or the
                database refuses.
        """
        database, file = Database(url), AnchorFile(anchors)
        database.prepare(create=create)
        appender = Appender(database)
        anchoring = Anchoring(file, lambda: appender.head, every_records=anchor_every_records, every_s=anchor_every_s)
        store = cls(database, appender, anchoring, images)
        try:
            store._begin(file, create=create)
            if images is not None:
                with database.reading() as connection:
                    origin = first_digest(connection)
                images.require_owner(origin, lambda: known_files(database), claim=create)
        except BaseException:
            anchoring.abandon()
            database.close()
            raise
        return store

    @property
    def anchor_failure(self) -> str | None:
        """Why the head of the chain cannot be noted at the moment; ``None`` where it can. Records are safe anyway."""
        return self._anchoring.failure

    @property
    def keeps_images(self) -> bool:
        """Whether ``append`` takes an image."""
        return self.images is not None

    def append(self, record: PredictionRecord, image: bytes | None = None) -> Receipt:
        """Write a prediction down; it is on the disk when this returns, and may leave then.

        Args:
            record: what to write.
            image: the bytes that were sent, for a store that keeps images.
        Raises:
            StoreError: ``duplicate_request``, ``bad_record``, ``store_full`` …: the answer must not leave.
        """
        sealed = None if image is None else self._seal(record, image)
        try:
            return self._append(prediction_entry(record, sealed))
        except StoreError as error:
            if sealed is not None and self.images is not None:
                if error.code in ("store_failed", "store_unreachable"):
                    self._unsure.add(file_of(sealed))  # the next retention run looks whether the record is there
                else:
                    self.images.remove(file_of(sealed))
            raise

    def append_feedback(self, record: FeedbackRecord) -> Receipt:
        """Write down what a clinician says of an answer; it is on the disk when this returns.

        Raises:
            StoreError: ``no_prediction``; ``erased``: its person is to be forgotten; ``store_full`` …
        """
        return self._append(feedback_entry(record))

    def append_alert(self, record: AlertRecord) -> Receipt:
        """Write down that a rule of monitoring fires, or has ceased to; it is on the disk when this returns.

        Raises:
            StoreError: ``store_full`` …
        """
        return self._append(alert_entry(record))

    def prediction(self, request_id: str, role: Role = Role.ANSWERED) -> StoredPrediction:
        """Look one up, with its feedback.

        Raises:
            StoreError: ``no_prediction``.
        """
        return find_prediction(self.database, request_id, role)

    def features(self, prediction: StoredPrediction) -> Features | None:
        """What monitoring keeps of its image; ``None`` where nothing was kept, or it was erased."""
        return find_features(self.database, prediction.position)

    def require_new(self, request_id: str) -> None:
        """Make sure that this id has no answer yet; ``append`` does so again, alone with the log.

        Raises:
            StoreError: ``duplicate_request``.
        """
        with self.database.reading() as connection:
            require_new(connection, request_id, Role.ANSWERED.value)

    def predictions(self, window: Window | None = None) -> Iterator[StoredPrediction]:
        """All predictions of a window, with their feedback, oldest first; memory holds a page of them."""
        return read_predictions(self.database, window or Window())

    def list(self, search: Search) -> Page:
        """One page of predictions that were given, newest first.

        Raises:
            StoreError: ``bad_cursor``.
        """
        return list_predictions(self.database, search)

    def alerts(self, window: Window | None = None) -> Iterator[AlertRecord]:
        """All alerts of a window (its times count, models and role do not), oldest first."""
        window = window or Window()
        return read_alerts(self.database, Window(since=window.since, until=window.until))

    def image(self, request_id: str, role: Role = Role.ANSWERED) -> bytes:
        """The kept image of a prediction.

        Raises:
            StoreError: ``no_prediction``, ``no_image``, ``image_key``, ``image_damaged``.
        """
        found = self.prediction(request_id, role)
        with self.database.reading() as connection:
            facts = facts_of(connection, [found.position]).get(found.position, {})
        if self.images is None or "image" not in facts:
            why = "was erased" if "image" in found.erased else "was not kept"
            raise StoreError(f"The image of prediction {request_id!r} {why}.", code="no_image")
        return self.images.open(facts["image"], request_id=request_id, image_sha256=facts["image_sha256"])

    def erase_subject(self, subject: str, *, principal: Principal, reason: str) -> Erasure:
        """Forget a person; the chain says that, when and by whom, and stays whole. See ``erasure.erase_subject``.

        Args:
            subject: the pseudonym that came with the predictions.
            principal: who erases.
            reason: stays in the chain for good: a case number, no name.
        """
        try:
            return erase_subject(self.database, self._appender, self.images, subject, principal, reason)
        finally:
            self._anchoring.note()  # an erasure that a rewind could undo would be none

    def erase_request(self, request_id: str, *, principal: Principal, reason: str) -> Erasure:
        """Forget what is personal of one request; as ``erase_subject``, for who gave no pseudonym."""
        try:
            return erase_request(self.database, self._appender, self.images, request_id, principal, reason)
        finally:
            self._anchoring.note()

    def erase_old_images(self, *, older_than_days: float, principal: Principal) -> Erasure:
        """Forget images that are too old; the chain says so. See ``erasure.erase_old_images``.

        Raises:
            StoreError: ``no_image``: this store keeps no images.
        """
        if self.images is None:
            raise StoreError("This store was opened without a folder of images.", code="no_image")
        try:
            unsure = frozenset(self._unsure)
            return erase_old_images(self.database, self._appender, self.images, older_than_days, principal, unsure)
        finally:
            self._anchoring.note()

    def erase_old_features(self, *, older_than_days: float) -> Erasure:
        """Forget what monitoring keeps of images that are too old; ``events`` says of how many."""
        return erase_old_features(self.database, self._appender, older_than_days)

    def close(self) -> None:
        """Note the last head, and end. What comes later is refused.

        Raises:
            StoreError: ``anchor_failed``: all records are safe, the last anchor is not.
        """
        self._appender.close()
        try:
            self._anchoring.close()
        finally:
            self.database.close()

    def __enter__(self) -> PredictionStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _append(self, entry: Entry) -> Receipt:
        receipt = self._appender.append(entry)
        self._anchoring.moved(receipt)
        return receipt

    def _seal(self, record: PredictionRecord, image: bytes) -> str:
        if self.images is None:
            raise StoreError("This store keeps no images; open it with images=….", code="no_image")
        if hashlib.sha256(image).hexdigest() != record.image_sha256 or len(image) != record.image_bytes:
            raise StoreError(
                f"The image is not the one of record {record.request_id!r}: sha256 or size differ.", code="bad_record"
            )
        return self.images.seal(image, request_id=record.request_id, image_sha256=record.image_sha256)

    def _begin(self, file: AnchorFile, *, create: bool) -> None:
        """Compare with the anchors, or begin them; one program at a time, so that only one does."""
        if create:
            with named_errors(self.database.url):
                file.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        elif file.latest() is None:
            raise no_anchors(file.path)
        lock = FileLock(file.path.with_name(f"{file.path.name}.opening"), timeout=WAIT_S, mode=0o600)
        try:
            with lock:
                latest = file.latest()
                with self._appender.writing() as chain:
                    if latest is not None:
                        check_last_anchor(chain.connection, latest, file.path)
                    else:
                        self._begin_anchors(chain, file.path)
                self._anchoring.note(begin=latest is None)
        except Timeout as error:
            raise StoreError(f"{lock.lock_file} has been held for {WAIT_S:.0f} s.", code="store_busy") from error
        log.info("prediction_store_opened", position=chain.head.position if chain.head else 0)

    @staticmethod
    def _begin_anchors(chain: Chain, path: Path) -> None:
        """Say so in the chain: its place tells an audit, 1 for a new chain, later where the anchors were lost."""
        is_new = chain.head is None
        receipt = chain.add(Entry(at=datetime.now(UTC), kind=Kind.OPENED, content={"format": 1}))
        if not is_new:
            log.warning("anchors_begun_anew", path=str(path), position=receipt.position)
