"""Files that are whole whenever somebody looks: after a crash there is the old one or the new one, on the disk."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

FOR_OWNER = 0o600
FOR_ALL = 0o666  # but for what the user's umask takes away


def write_whole(path: Path, content: str | bytes, *, mode: int = FOR_ALL, staging: Path | None = None) -> None:
    """Write a file, or replace it, at once; it is on the disk when this returns.

    Args:
        path: its folder has to be there.
        content: text is written as UTF-8.
        mode: of the file; ``FOR_OWNER`` where others must not read it.
        staging: what it is called until it is whole, for who clears away what a crash left; not there yet.
    Raises:
        OSError: nothing was changed, and nothing is left beside the file.
    """
    staging = staging or path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with os.fdopen(os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        staging.replace(path)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Bring a file, or a folder's own list of files, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
