"""Addresses of servers and databases, as they may be shown."""

from __future__ import annotations

import re


def without_password(text: str) -> str:
    """A text, such as an address or an error message, with the credentials of every address in it replaced by ``***``.

    Takes everything up to the last ``@`` of an address for credentials, since people forget to encode ``/`` and ``@``
    in passwords; hides ``password=…`` in queries as well.
    """
    hidden = re.sub(r"://[^\s'\"]*@", "://***@", text)
    return re.sub(r"(?i)\b(password|passwd|pwd)=[^&\s'\"]+", r"\1=***", hidden)
