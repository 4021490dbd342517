"""A disk that is full, by name."""

from __future__ import annotations

import errno
from pathlib import Path

from lesion_core.errors import LesionError

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def full_disk(error: Exception, folder: Path, hint: str) -> LesionError | None:
    """The error by name, code ``disk_full``, where it says that there is no room; else ``None``.

    Args:
        error: that was raised.
        folder: that was written to.
        hint: what is safe and what to do; ends the message.
    """
    if isinstance(error, OSError) and error.errno in FULL_DISK:
        return LesionError(f"No room to write to {folder} ({error.strerror}). {hint}", code="disk_full")
    return None
