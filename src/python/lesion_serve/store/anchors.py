"""The head of the chain, noted in a second place.

A file of JSON lines, in a folder of its own and better on another disk or host: position, digest and time of the head,
written by a thread every ``every_records`` records or ``every_s`` seconds, at once when a chain begins, and on closing.
It lags behind the database after a crash, which is fine; a database that lags behind it has lost records.

Where the file is gone, nothing shows any more that the end of the log was not cut off. So it is not made again by the
way: only ``lesion-serve start`` begins it anew, by an event of the log.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import attrs
import structlog
from filelock import FileLock, Timeout

from lesion_core.durable import sync
from lesion_serve.store.chain import stamp
from lesion_serve.store.errors import StoreError
from lesion_serve.store.records import Receipt

EVERY_RECORDS, EVERY_S = 100, 10.0
_WAIT_S = 30.0
_TAIL_BYTES = 64 * 1024
log = structlog.get_logger()


@attrs.frozen(kw_only=True)
class Anchor:
    """The head as it was once."""

    position: int
    digest: str
    at: str


class AnchorFile:
    """The file. Several processes may add to it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> tuple[list[Anchor], list[int]]:
        """All anchors in the order of the file, and the numbers of lines that are none.

        A last line without its end is a write that a crash cut off, and is left out.

        Raises:
            StoreError: ``anchor_failed``: the file is there and cannot be read.
        """
        try:
            return _anchors(self.path.read_bytes())
        except FileNotFoundError:
            return [], []
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def latest(self) -> Anchor | None:
        """The furthest anchor; of a long file only the end is read, since each anchor stands for all before it.

        Raises:
            StoreError: ``anchor_failed``: the file is there and cannot be read.
        """
        try:
            with self.path.open("rb") as stream:
                stream.seek(max(0, self.path.stat().st_size - _TAIL_BYTES))
                found, _ = _anchors(stream.read())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreadable(self.path, error) from error
        if not found:  # damaged there; perhaps not further up
            found, _ = self.read()
        return max(found, key=lambda anchor: anchor.position, default=None)

    def add(self, head: Receipt, *, begin: bool = False) -> None:
        """Write one anchor; it is on the disk when this returns.

        Args:
            head: of the chain.
            begin: make the file where there is none.
        Raises:
            StoreError: ``anchor_failed``: nothing was written.
        """
        line = json.dumps({"position": head.position, "digest": head.digest, "at": stamp(datetime.now(UTC))})
        flags = os.O_RDWR | os.O_APPEND | (os.O_CREAT if begin else 0)
        try:
            if begin:
                self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with FileLock(self.path.with_name(f"{self.path.name}.lock"), timeout=_WAIT_S, mode=0o600):
                is_new = not self.path.exists()
                with os.fdopen(os.open(self.path, flags, 0o600), "rb+", 0) as stream:
                    whole = _end_of_last_line(stream.fileno())
                    stream.truncate(whole)  # a line that a crash cut off
                    try:
                        if os.write(stream.fileno(), line.encode() + b"\n") != len(line) + 1:
                            raise OSError("the disk is full")
                        os.fsync(stream.fileno())
                    except OSError:
                        stream.truncate(whole)
                        raise
                if is_new:
                    sync(self.path.parent)
        except FileNotFoundError as error:
            raise StoreError(
                f"The anchors {self.path} are gone. The records are safe; bring the file back. Where it is lost, "
                "'lesion-serve start' begins it anew, which the log says.",
                code="anchor_failed",
            ) from error
        except (OSError, Timeout) as error:
            raise StoreError(
                f"The anchor {self.path} could not be written: {error}. The record itself is safe; make the file's "
                "folder writable, with room.",
                code="anchor_failed",
            ) from error


class Anchoring:
    """A thread that notes the head now and then, so that no record waits for it. Ends with ``close``."""

    def __init__(
        self,
        file: AnchorFile,
        head: Callable[[], Receipt | None],
        *,
        every_records: int = EVERY_RECORDS,
        every_s: float = EVERY_S,
    ) -> None:
        self._file, self._head = file, head
        self._every_records, self._every_s = every_records, every_s
        self._noted: Receipt | None = None
        self._failure: str | None = None
        self._noting = threading.Lock()
        self._wake, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="prediction-anchors", daemon=True)
        self._thread.start()

    @property
    def noted(self) -> Receipt | None:
        """The head that was noted last by this process."""
        return self._noted

    @property
    def failure(self) -> str | None:
        """Why the head could not be noted at the last try; ``None`` where it could."""
        return self._failure

    def moved(self, head: Receipt) -> None:
        """Tell that the head is here now. Returns at once."""
        if self._noted is None or head.position - self._noted.position >= self._every_records:
            self._wake.set()

    def note(self, *, begin: bool = False) -> None:
        """Note the head now.

        Args:
            begin: make the file where there is none.
        Raises:
            StoreError: ``anchor_failed``.
        """
        with self._noting:
            head = self._head()
            if head is None or head == self._noted:
                return
            try:
                self._file.add(head, begin=begin)
            except StoreError as error:
                self._failure = error.message
                raise
            if self._failure is not None:
                log.info("anchors_noted_again", position=head.position)
            self._noted, self._failure = head, None

    def close(self) -> None:
        """End the thread and note the last head.

        Raises:
            StoreError: ``anchor_failed``.
        """
        self.abandon()
        self.note()

    def abandon(self) -> None:
        """End the thread and note nothing."""
        self._closing.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(self._every_s)
            self._wake.clear()
            if self._closing.is_set():
                return
            try:
                self.note()
            except StoreError as error:
                log.error("anchor_failed", reason=error.message)
                # Neither spin on a full disk, nor wait for so many records again.
                self._closing.wait(min(self._every_s, 1.0))


def no_anchors(path: Path) -> StoreError:
    """What every command says but ``start``, which begins them."""
    return StoreError(
        f"There are no anchors at {path}: nothing shows that the end of the log was not cut off. Bring the file back, "
        "or name it with --anchors; where it is lost, 'lesion-serve start' begins it anew, which the log says.",
        code="anchors_missing",
    )


def _anchors(text: bytes) -> tuple[list[Anchor], list[int]]:
    anchors, damaged = [], []
    for number, line in enumerate(text.split(b"\n")[:-1], start=1):
        try:
            anchors.append(_anchor(line))
        except (ValueError, TypeError):
            damaged.append(number)
    return anchors, damaged


def _unreadable(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"The anchors {path} cannot be read: {error}. Let the user of this program read them. Where they are lost, "
        "move them away: 'lesion-serve start' begins them anew, which the log says.",
        code="anchor_failed",
    )


def _anchor(line: bytes) -> Anchor:
    fields = json.loads(line)
    anchor = Anchor(**fields)
    if type(anchor.position) is not int or type(anchor.digest) is not str or type(anchor.at) is not str:
        raise TypeError(f"not an anchor: {fields}")
    return anchor


def _end_of_last_line(file: int) -> int:
    """Bytes up to and with the last line feed; lines are short."""
    size = os.fstat(file).st_size
    tail = os.pread(file, 4096, max(0, size - 4096))
    return size - len(tail) + tail.rfind(b"\n") + 1
