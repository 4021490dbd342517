"""Files that are whole whenever somebody looks."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from lesion_core.durable import FOR_ALL, FOR_OWNER, write_whole


def test_a_file_is_replaced_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    """Text or bytes; the folder holds the one file."""
    path = tmp_path / "one.json"

    write_whole(path, "müde")
    assert path.read_bytes() == "müde".encode()
    write_whole(path, b"new")

    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk says that it is full when the file is to be brought there."""
    path = tmp_path / "one.json"
    write_whole(path, "old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, "new")

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("mode", "umask", "wanted"), [(FOR_OWNER, 0o022, 0o600), (FOR_ALL, 0o022, 0o644), (FOR_ALL, 0o077, 0o600)]
)
def test_who_may_read_it_is_said_or_left_to_the_user(tmp_path: Path, mode: int, umask: int, wanted: int) -> None:
    """Their umask counts."""
    path = tmp_path / "one.json"
    before = os.umask(umask)
    try:
        write_whole(path, "secret", mode=mode)
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == wanted


def test_several_writers_at_once_leave_the_file_of_one(tmp_path: Path) -> None:
    """Never a mixture, and no error."""
    path = tmp_path / "one.json"
    texts = [str(number) * 50_000 for number in range(8)]
    writers = [threading.Thread(target=write_whole, args=(path, text)) for text in texts]

    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert path.read_text() in texts
    assert list(tmp_path.iterdir()) == [path]
