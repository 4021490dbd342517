"""Addresses of servers and databases, as they may be shown."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

_SQLITE = "sqlite:///"


def without_password(text: str) -> str:
    """A text, such as an address or an error message, with the credentials of every address in it replaced by ``***``.

    Takes everything up to the last ``@`` of an address for credentials, since people forget to encode ``/`` and ``@``
    in passwords; hides ``password=…`` in queries as well.
    """
    hidden = re.sub(r"://[^\s'\"]*@", "://***@", text)
    return re.sub(r"(?i)\b(password|passwd|pwd)=[^&\s'\"]+", r"\1=***", hidden)


def sqlite_address(file: Path) -> str:
    """The SQLAlchemy address of an SQLite file, with ``%`` and ``?`` of its name escaped: they mean something else."""
    return _SQLITE + str(file).replace("%", "%25").replace("?", "%3F")


def sqlite_file(address: str) -> Path | None:
    """The file that an SQLAlchemy address of SQLite names; ``None`` for a server, or a database in memory."""
    name = unquote(address.removeprefix(_SQLITE).partition("?")[0])
    return Path(name) if address.startswith(_SQLITE) and name not in ("", ":memory:") else None
