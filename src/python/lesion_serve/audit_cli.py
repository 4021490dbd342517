"""The commands of ``lesion-serve audit``: check the prediction store, export it, and erase what is personal in it."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import attrs
from cyclopts import App, Parameter

from lesion_core.workspace import Workspace
from lesion_serve.options import AsJson, NotNegative, Switch

if TYPE_CHECKING:
    from lesion_serve.store import Erasure, ImageStore, PredictionStore, Principal

FINDINGS_EXIT_CODE = 1
_SHOWN = 20

audit = App(name="audit", help="Check the prediction store, export it, and erase what is personal in it.")


@audit.command
def verify(
    *,
    store: str | None = None,
    anchors: Path | None = None,
    images: Path | None = None,
    image_key: Path | None = None,
    as_json: AsJson = False,
) -> None:
    """Check every record against the chain, the anchors and the triggers; nothing is changed.

    Example: lesion-serve audit verify --store sqlite:////data/predictions.db

    Ends with exit code 0 where the store is intact, 1 where something was found, 2 where there is no store. Note the
    head that it prints somewhere else: it stands for all records up to now.

    Parameters
    ----------
    store
        Address of the database; predictions.db in .lesion by default.
    anchors
        File of the heads that were noted; beside the database by default.
    images
        Folder of kept images, to look for each.
    image_key
        Their key, to decrypt each.
    as_json
        Print one JSON object.
    """
    from lesion_serve import store as stores

    url = store or stores.default_url(Workspace.default())
    file = stores.AnchorFile(anchors or stores.default_anchors(url, Workspace.default()))
    found = stores.verify(stores.Database(url), file, kept_images(images, image_key))
    if as_json:
        print(json.dumps({"is_intact": found.is_intact, **attrs.asdict(found)}))
    else:
        for finding in found.findings[:_SHOWN]:
            print(f"{finding.code}: {finding.message}")
        if len(found.findings) > _SHOWN:
            print(f"… and {len(found.findings) - _SHOWN} more")
        for remark in found.remarks:
            print(f"Remark: {remark}")
        state = "Intact" if found.is_intact else f"NOT INTACT ({len(found.findings)} findings)"
        print(f"{state}: {found.events} events, {found.anchors} anchors, {found.images} images. Head: {found.head}")
    if not found.is_intact:
        sys.exit(FINDINGS_EXIT_CODE)


@audit.command
def export(
    *,
    out: Path | None = None,
    layout: Annotated[Literal["jsonl", "csv"], Parameter(name="--format")] = "jsonl",
    since: datetime | None = None,
    until: datetime | None = None,
    personal: Switch = False,
    store: str | None = None,
) -> None:
    """Write the log as JSON lines or CSV, without what is personal unless it is asked for.

    Example: lesion-serve audit export --since 2026-11-01 --format csv --out november.csv

    Parameters
    ----------
    out
        The file; the terminal by default. One that exists is never overwritten.
    layout
        jsonl or csv.
    since
        From this time on, in UTC unless it has a zone.
    until
        Up to but without this time.
    personal
        Also subjects, fingerprints of images, and comments.
    store
        Address of the database; predictions.db in .lesion by default.
    """
    from lesion_serve import store as stores
    from lesion_serve.store.export import ExportFormat, export_events

    database = stores.Database(store or stores.default_url(Workspace.default()))
    database.require()
    target = sys.stdout if out is None else out.open("x", encoding="utf-8", newline="")
    try:
        count = export_events(
            database,
            target,
            layout=ExportFormat(layout),
            since=utc(since),
            until=utc(until),
            with_personal=personal,
        )
    finally:
        if out is not None:
            target.close()
    print(f"{count} events written.", file=sys.stderr)


@audit.command
def erase(
    *,
    subject: str | None = None,
    request: str | None = None,
    reason: str,
    store: str | None = None,
    anchors: Path | None = None,
    images: Path | None = None,
    as_json: AsJson = False,
) -> None:
    """Erase a person, or one request: subject, images and their fingerprints, and comments. The chain stays whole.

    Example: lesion-serve audit erase --subject P-1734 --reason case-2026-17 --images /data/images

    Ends with exit code 1 where nothing is known of the subject or request, which may be a slip of the pen; and where a
    disk may still hold what was erased, with what to do about it.

    Parameters
    ----------
    subject
        The pseudonym that came with the predictions.
    request
        Instead of it, the id of one request, of a person without a pseudonym for one.
    reason
        Stays in the log for good: a case number, no name.
    store
        Address of the database; predictions.db in .lesion by default.
    anchors
        File of the heads that were noted; beside the database by default.
    images
        Folder of kept images; needed where the subject has some.
    as_json
        Print as JSON.
    """
    from lesion_serve.store import StoreError

    with opened_store(store, anchors, kept_images(images, None)) as opened:
        if subject is not None and request is None:
            done = opened.erase_subject(subject, principal=_operator(), reason=reason)
        elif request is not None and subject is None:
            done = opened.erase_request(request, principal=_operator(), reason=reason)
        else:
            raise StoreError("Name what to erase, by either --subject or --request.", code="bad_record")
    if as_json:
        print(json.dumps(attrs.asdict(done)))
    elif done.facts:
        print(f"Erased: {done.facts} facts of {done.events} events, {done.images} images. Backups still hold them.")
    else:
        print(f"Nothing is known of this {'request' if subject is None else 'subject'}; nothing was erased.")
    _end_unless_scrubbed(done, as_json=as_json)
    if not done.facts:
        sys.exit(FINDINGS_EXIT_CODE)


@audit.command
def retention(
    *,
    older_than_days: NotNegative,
    images: Path | None = None,
    store: str | None = None,
    anchors: Path | None = None,
    as_json: AsJson = False,
) -> None:
    """Erase kept images that are too old, and what monitoring keeps of any image that is.

    'lesion-serve start --keep-images-days' does so by itself, every day; with '--keep-features-days' where no images
    are kept. Ends with exit code 1 where a disk may still hold what was erased, with what to do about it.

    Example: lesion-serve audit retention --older-than-days 30 --images /data/images

    Parameters
    ----------
    older_than_days
        By the time of the question.
    images
        Folder of kept images, where some are.
    store
        Address of the database; predictions.db in .lesion by default.
    anchors
        File of the heads that were noted; beside the database by default.
    as_json
        Print as JSON.
    """
    with opened_store(store, anchors, kept_images(images, None)) as opened:
        done = None
        if images is not None:
            done = opened.erase_old_images(older_than_days=older_than_days, principal=_operator())
        features = opened.erase_old_features(older_than_days=older_than_days)
    if as_json:
        left = {"features": features.events, "not_scrubbed": features.not_scrubbed}  # the last one speaks for both
        print(json.dumps({**(attrs.asdict(done) if done else {}), **left}))
    else:
        if done is not None:
            print(f"Erased: {done.images} images; {done.orphans} unfinished files.")
        print(f"Erased: what monitoring kept of {features.events} images.")
    _end_unless_scrubbed(features, as_json=as_json)


@audit.command(name="new-key")
def new_key(path: Path, *, as_json: AsJson = False) -> None:
    """Make a key for kept images, readable by its owner only. Keep a copy elsewhere: without it all images are lost.

    Parameters
    ----------
    path
        The file to make, outside of the images' folder.
    as_json
        Print as JSON.
    """
    from lesion_serve.store import create_key

    create_key(path)
    print(json.dumps({"key": str(path)}) if as_json else f"Key for images: {path}")


def opened_store(url: str | None, anchors: Path | None, images: ImageStore | None = None) -> PredictionStore:
    """The store that a command works on, with events of the log on the terminal.

    Raises:
        StoreError: ``no_store`` and others.
    """
    from lesion_core.logs import configure_logging
    from lesion_serve import store as stores

    configure_logging()
    url = url or stores.default_url(Workspace.default())
    anchors = anchors or stores.default_anchors(url, Workspace.default())
    return stores.PredictionStore.open(url, anchors=anchors, images=images, create=False)


def kept_images(folder: Path | None, key: Path | None) -> ImageStore | None:
    """The folder of kept images that a command names.

    Raises:
        StoreError: ``image_key``: a key without a folder, or one that cannot be used.
    """
    from lesion_serve.store import ImageKey, ImageStore, StoreError

    if folder is None and key is not None:
        raise StoreError("A key for images needs their folder: --images.", code="image_key")
    if folder is None:
        return None
    return ImageStore(folder=folder, key=None if key is None else ImageKey.load(key, images=folder))


def _end_unless_scrubbed(done: Erasure, *, as_json: bool) -> None:
    """Say what is left of what was erased, and end with exit code 1."""
    if done.not_scrubbed is None:
        return
    if not as_json:
        print(f"NOT SCRUBBED: {done.not_scrubbed}")
    sys.exit(FINDINGS_EXIT_CODE)


def _operator() -> Principal:
    """The user of this machine, by number: names are personal too."""
    import os

    from lesion_serve.store import Principal

    return Principal(key_id=f"uid:{os.getuid()}", role="operator")


def utc(at: datetime | None) -> datetime | None:
    """A time as a command takes it: in UTC unless it has a zone."""
    return None if at is None else at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
