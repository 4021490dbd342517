"""Disks for one program, which a test can fill and free while it runs. Each is a folder that it writes into."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

MOUNTER = 'mount -t tmpfs -o size=16m none "$0" && exec "$@"'


class SmallDisk(Protocol):
    """``through`` is the command that the program is started through; ``folder`` is where the program sees the disk."""

    through: tuple[str, ...]
    folder: Path

    def seen_by(self, process: int) -> Path:
        """The folder for everybody else, while the program runs."""
        ...

    def fill(self, process: int) -> None:
        """From now on the program cannot write any more."""
        ...

    def free(self, process: int) -> None:
        """From now on it can again."""
        ...


class FileSystem:
    """A file system of 16 MiB, in a namespace of the program's own: where it is full, it is full (ENOSPC)."""

    def __init__(self, folder: Path) -> None:
        # Root may make a namespace; others need one of users around it.
        alone = ("unshare", "--mount") if os.geteuid() == 0 else ("unshare", "--map-root-user", "--mount")
        self.folder = folder
        self.through = (*alone, "sh", "-c", MOUNTER, str(folder))
        try:
            done = subprocess.run([*self.through, "true"], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("needs unshare (util-linux)")
        if done.returncode:
            pytest.skip(f"needs mounts of its own, which this machine does not give: {done.stderr.strip()}")

    def seen_by(self, process: int) -> Path:
        return Path("/proc", str(process), "root", *self.folder.parts[1:])

    def fill(self, process: int) -> None:
        with (self.seen_by(process) / "filler").open("wb", buffering=0) as filler:
            for size in (2**20, 2**12, 1):
                try:
                    while filler.write(bytes(size)) == size:
                        pass
                except OSError:
                    continue

    def free(self, process: int) -> None:
        (self.seen_by(process) / "filler").unlink()


class LimitedFiles:
    """A plain folder; no file of the program may grow beyond what the largest one here is now (EFBIG)."""

    through: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def seen_by(self, process: int) -> Path:
        return self.folder

    def fill(self, process: int) -> None:
        largest = max(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
        self._limit(process, largest)

    def free(self, process: int) -> None:
        self._limit(process, resource.RLIM_INFINITY)

    def _limit(self, process: int, size: int) -> None:
        _, hard = resource.prlimit(process, resource.RLIMIT_FSIZE)
        resource.prlimit(process, resource.RLIMIT_FSIZE, (size if hard == resource.RLIM_INFINITY else hard, hard))


KINDS: dict[str, Callable[[Path], SmallDisk]] = {"file-system": FileSystem, "limited-files": LimitedFiles}
