"""Databases by their addresses: tried before they are used, and what they say without their passwords."""

from __future__ import annotations

import sqlalchemy as sa

from lesion_core.address import without_password
from lesion_core.errors import LesionError


def reason_of(error: BaseException) -> str:
    """The first line of what an error says, without credentials; its kind where it says nothing."""
    return next(iter(without_password(str(error)).strip().splitlines()), type(error).__name__)[:300]


def require_database(address: str) -> None:
    """Make sure that a database answers and takes the password: MLflow would ask ten times, for minutes.

    A SQLite file is left alone, since MLflow makes it where there is none.

    Raises:
        LesionError: ``no_database``: it does not; quotes the driver, without passwords.
    """
    if address.startswith("sqlite:"):
        return
    try:
        engine = sa.create_engine(address, poolclass=sa.pool.NullPool)
        with engine.connect():
            return
    except sa.exc.ArgumentError:
        raise LesionError(
            f"{without_password(address)!r} is no address of a database. Give sqlite:///FILE, or "
            "postgresql+pg8000://USER:PASSWORD@HOST/NAME.",
            code="no_database",
        ) from None
    except (sa.exc.SQLAlchemyError, ImportError, OSError) as error:
        raise LesionError(
            f"The database at {without_password(address)} does not let us in: {reason_of(error)} Is it up, and does "
            "the address have the right password?",
            code="no_database",
        ) from None  # the cause may quote a password
