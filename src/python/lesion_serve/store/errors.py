"""The one error of the store, and how the errors of databases become it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from lesion_core.address import without_password
from lesion_core.errors import LesionError

_ADVICE = {
    "store_full": "Nothing was written. Make room on the disk, and repeat.",
    "store_busy": "Another program holds the database for too long; find out which, and repeat.",
    "store_unreachable": "Is the database up, and does the address have the right password?",
    "store_read_only": "Let the user of this program write the database and its folder.",
    "store_damaged": "Keep a copy, and bring the database back from a backup.",
    "store_failed": "Nothing is known to be written; look the record up before you repeat.",
}


class StoreError(LesionError):
    """The prediction store did not do what it was asked for; what was acknowledged before is safe.

    Codes: ``store_full``, ``store_busy``, ``store_unreachable``, ``store_read_only``, ``store_damaged``,
    ``store_failed`` (the database), ``store_closed``, ``no_store``, ``newer_store``, ``behind_anchor``,
    ``anchors_missing``, ``anchor_failed``, ``bad_record``, ``duplicate_request``, ``no_prediction``, ``erased``,
    ``no_image``, ``image_key``, ``image_damaged``, ``foreign_images``, ``bad_cursor``.
    """

    code = "store_failed"


@contextmanager
def named_errors(url: str) -> Iterator[None]:
    """Turn what SQLAlchemy and its drivers raise into ``StoreError``, without values of rows and without passwords.

    Args:
        url: of the database; a password in it is hidden.
    """
    try:
        yield
    except (sa.exc.SQLAlchemyError, OSError) as error:
        code = _code(error)
        raise StoreError(
            f"The prediction store {without_password(url)} failed: {_reason(error)}. {_ADVICE[code]}", code=code
        ) from error


def _reason(error: Exception) -> str:
    """The driver's own sentence; SQLAlchemy would add the statement with its values."""
    source = getattr(error, "orig", None) or error
    if source.args and isinstance(source.args[0], dict):  # pg8000: the fields of PostgreSQL's message
        return without_password(str(source.args[0].get("M", source)))
    return without_password(next(iter(str(source).strip().splitlines()), type(source).__name__))[:300]


def _code(error: Exception) -> str:
    source = getattr(error, "orig", None) or error
    name = str(getattr(source, "sqlite_errorname", ""))
    # Other errors of the disk, of fsync for one, leave it open whether a commit will be found there.
    if name in ("SQLITE_FULL", "SQLITE_IOERR_WRITE"):
        return "store_full"
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) or isinstance(error, sa.exc.TimeoutError):
        return "store_busy"
    if name.startswith(("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_CANTOPEN")) or isinstance(error, PermissionError):
        return "store_read_only"
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return "store_damaged"
    state = str(source.args[0].get("C", "")) if source.args and isinstance(source.args[0], dict) else ""
    if state.startswith("53"):
        return "store_full"
    if state in ("55P03", "57014", "40P01"):
        return "store_busy"
    if state in ("42501", "25006"):
        return "store_read_only"
    if state.startswith(("28", "3D", "57P", "08")) or isinstance(error, sa.exc.InterfaceError):
        return "store_unreachable"
    return "store_failed"
