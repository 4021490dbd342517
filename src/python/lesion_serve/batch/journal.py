"""What a batch has done so far, in a file beside its output: nothing of it is lost when the run is killed.

An SQLite database that only one run can open. The images are listed in it once, when the run begins; each answer is on
the disk before the next is taken in. It is removed when the output is finished.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from lesion_core.decision.metadata import PatientMetadata
from lesion_serve.batch.answering import Answer, Task
from lesion_serve.batch.errors import BatchError
from lesion_serve.batch.layouts import Cells
from lesion_serve.batch.settings import BatchSettings

SUFFIX = ".unfinished"
_SIDE_FILES = ("", "-wal", "-shm", "-journal")
_PAGE = 256  # images that are looked up at a time
_TABLES = """
DROP TABLE IF EXISTS setting;
DROP TABLE IF EXISTS image;
DROP TABLE IF EXISTS answer;
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE image (number INTEGER PRIMARY KEY, shown TEXT NOT NULL, name TEXT NOT NULL, path BLOB NOT NULL,
    metadata TEXT);
CREATE TABLE answer (number INTEGER PRIMARY KEY, error TEXT, cells TEXT NOT NULL);
"""


@attrs.frozen
class Row:
    """An answered image: as it was named, its file's name without ending, and the answer."""

    shown: str
    name: str
    error: str | None
    cells: Cells


def journal_of(out: Path) -> Path:
    """Where the journal of a run lies that shall write ``out``."""
    return out.with_name(out.name + SUFFIX)


def discard(path: Path) -> None:
    """Remove a journal that nobody has open."""
    for suffix in _SIDE_FILES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)


class Journal:
    """An open journal. Not for several threads."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    @classmethod
    @contextmanager
    def open(
        cls,
        path: Path,
        settings: BatchSettings,
        list_images: Callable[[sqlite3.Connection], None],
        *,
        afresh: bool = False,
    ) -> Iterator[Journal]:
        """Go on with the run whose journal lies at ``path``, or begin one.

        Args:
            path: of the journal.
            settings: of this run.
            list_images: fills the table ``image``, when a run begins.
            afresh: forget the run that was begun.
        Raises:
            BatchError: ``another_run``, ``in_use``, ``damaged_journal``; later ``journal_failed``.
        """
        with _named_errors(path):
            connection = sqlite3.connect(path, isolation_level=None, timeout=0)
        is_in_use = True  # only who has the lock may remove it
        begun = None
        try:
            with _named_errors(path):
                connection.execute("PRAGMA locking_mode = EXCLUSIVE")
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                begun = _settings_of(connection)
                is_in_use = False
                if begun is None or afresh:
                    _begin(connection, settings, list_images)
                    begun = attrs.asdict(settings)
            if differences := settings.differences(begun):
                raise BatchError(
                    f"{path} belongs to an unfinished run with other settings: {'; '.join(differences)}. Repeat its "
                    "command to go on with it, name another file with --out, or begin anew with --overwrite.",
                    code="another_run",
                )
            yield cls(path, connection)
        finally:
            connection.close()
            if begun is None and not is_in_use:
                discard(path)

    @property
    def images(self) -> int:
        """How many there are."""
        return self._one("SELECT count(*) FROM image")

    @property
    def answered(self) -> int:
        """How many are written down, those with an error among them."""
        return self._one("SELECT count(*) FROM answer")

    def errors(self) -> dict[str, int]:
        """How many images have which error."""
        query = "SELECT error, count(*) FROM answer WHERE error IS NOT NULL GROUP BY error ORDER BY error"
        with _named_errors(self.path):
            return dict(self._connection.execute(query).fetchall())

    def open_tasks(self) -> Iterator[Task]:
        """The images that have no answer yet, in their order; more may be written down meanwhile."""
        query = (
            "SELECT number, path, metadata FROM image WHERE number > ? AND number NOT IN (SELECT number FROM answer) "
            "ORDER BY number LIMIT ?"
        )
        last = -1
        while True:
            with _named_errors(self.path):
                page = self._connection.execute(query, (last, _PAGE)).fetchall()
            if not page:
                return
            for last, path, metadata in page:
                known = None if metadata is None else PatientMetadata(**json.loads(metadata))
                yield Task(last, os.fsdecode(path), known)

    def write(self, answers: Iterable[Answer]) -> None:
        """Write answers down; they are on the disk when this returns."""
        rows = [(one.number, one.error, json.dumps(one.cells, ensure_ascii=False)) for one in answers]
        with _named_errors(self.path):
            self._connection.execute("BEGIN")
            try:
                self._connection.executemany("INSERT INTO answer VALUES (?, ?, ?)", rows)
                self._connection.execute("COMMIT")
            except sqlite3.Error:
                with contextlib.suppress(sqlite3.Error):  # a full disk has rolled it back already
                    self._connection.execute("ROLLBACK")
                raise

    def rows(self) -> Iterator[Row]:
        """All that was answered, in the images' order, a few in memory."""
        query = (
            "SELECT shown, name, error, cells FROM answer JOIN image USING (number) WHERE number > ? AND number <= ? "
            "ORDER BY number"
        )
        for start in range(-1, self.images, _PAGE):
            with _named_errors(self.path):
                page = self._connection.execute(query, (start, start + _PAGE)).fetchall()
            for shown, name, error, cells in page:
                yield Row(shown, name, error, tuple(json.loads(cells)))

    def remove(self) -> None:
        """Remove the file: the output is finished."""
        self._connection.close()
        discard(self.path)

    def _one(self, query: str) -> int:
        with _named_errors(self.path):
            return int(self._connection.execute(query).fetchone()[0])


def _begin(
    connection: sqlite3.Connection, settings: BatchSettings, list_images: Callable[[sqlite3.Connection], None]
) -> None:
    """All or nothing: a run that is killed here has not begun."""
    connection.execute("BEGIN EXCLUSIVE")
    for statement in _TABLES.split(";"):
        connection.execute(statement)
    list_images(connection)
    connection.executemany("INSERT INTO setting VALUES (?, ?)", attrs.asdict(settings).items())
    connection.execute("COMMIT")


def _settings_of(connection: sqlite3.Connection) -> dict[str, str] | None:
    """Those that the run was begun with; ``None`` where it was not, or was killed before it had listed its images."""
    tables = "SELECT 1 FROM sqlite_master WHERE name = 'setting'"
    if connection.execute(tables).fetchone() is None:
        return None
    return dict(connection.execute("SELECT name, value FROM setting").fetchall())


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise BatchError(f"Another run works on {path}. Wait for it, or stop it.", code="in_use") from error
        raise BatchError(
            f"{path} cannot be read or written: {error}. What was answered before is kept in it; mend this and repeat "
            "the command.",
            code="journal_failed",
        ) from error
    except sqlite3.DatabaseError as error:
        raise BatchError(f"{path} is damaged ({error}). Remove it.", code="damaged_journal") from error
