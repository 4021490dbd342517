"""A disk that is full, by name."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from lesion_core.errors import LesionError

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def system_error(error: Exception) -> int | None:
    """The number by which the system said why; ``None`` where it was not the system.

    Libraries in Rust, such as safetensors, have it in their words only: "File too large (os error 27)".
    """
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None


def full_disk(error: Exception, folder: Path, hint: str) -> LesionError | None:
    """The error by name, code ``disk_full``, where it says that there is no room; else ``None``.

    Args:
        error: that was raised.
        folder: that was written to.
        hint: what is safe and what to do; ends the message.
    """
    reason = system_error(error)
    if reason in FULL_DISK:
        return LesionError(f"No room to write to {folder} ({os.strerror(reason)}). {hint}", code="disk_full")
    return None
