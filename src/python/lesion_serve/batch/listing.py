"""Which images a batch has: files and folders become rows of the journal, in order, without holding them in memory."""

from __future__ import annotations

import json
import os
import sqlite3
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from lesion_core.datasets.image_files import entries_below
from lesion_core.datasets.patients import read_patients
from lesion_core.errors import DatasetError, ImageError
from lesion_core.imaging import FILE_SUFFIXES, image_format
from lesion_serve.batch.errors import BatchError

_START_BYTES = 512  # of a file, which tell its format


@attrs.frozen(kw_only=True)
class Listing:
    """How to list images.

    Attributes:
        paths: files, which are asked about whatever they are; folders, of which all images are, also of those below.
        metadata: table of what is known of the patients, or ``None``.
        needs_names: whether each image needs a name of its own, without folder and ending.
    """

    paths: Sequence[Path]
    metadata: Path | None
    needs_names: bool

    def __call__(self, connection: sqlite3.Connection) -> None:
        """Fill the table ``image``, sorted by path.

        Raises:
            BatchError: ``no_images``, ``unreadable_folder``, ``same_names``.
            DatasetError: the table of patients has problems; it lists all of them.
        """
        connection.execute(
            "CREATE TEMPORARY TABLE found (path BLOB PRIMARY KEY, shown TEXT NOT NULL, name TEXT NOT NULL) "
            "WITHOUT ROWID"
        )
        rows = ((os.path.abspath(path), readable(path), _name(path)) for path in found_images(self.paths))
        connection.executemany("INSERT OR IGNORE INTO found VALUES (?, ?, ?)", rows)
        if connection.execute("SELECT 1 FROM found").fetchone() is None:
            shown = ", ".join(map(str, self.paths))
            raise BatchError(f"There is no image in {shown}: {', '.join(FILE_SUFFIXES)} files.", code="no_images")
        if self.needs_names or self.metadata is not None:
            _require_names(connection)
        connection.execute(
            "CREATE TEMPORARY TABLE patient (name TEXT PRIMARY KEY, metadata TEXT NOT NULL) WITHOUT ROWID"
        )
        if self.metadata is not None:
            _read_patients(connection, self.metadata)
        connection.execute(
            "INSERT INTO image (number, shown, name, path, metadata) "
            "SELECT row_number() OVER (ORDER BY shown, path) - 1, shown, name, path, metadata "
            "FROM found LEFT JOIN patient USING (name) ORDER BY 1"
        )
        connection.execute("DROP TABLE found")
        connection.execute("DROP TABLE patient")


def found_images(paths: Sequence[Path]) -> Iterator[bytes]:
    """Files that were named, and the images of folders that were named, in no order.

    A file in a folder is an image if it is named like one or begins like one. What is hidden is left alone. Links are
    followed, but for those to a folder that they lie in; one that leads nowhere is an image if it is named like one.

    Raises:
        BatchError: ``no_images``, ``unreadable_folder``.
    """
    folders = list[bytes]()
    for path in paths:
        named = os.fsencode(os.path.normpath(path))
        if os.path.isdir(named):
            folders.append(named)
        elif os.path.isfile(named):
            yield named
        else:
            raise BatchError(f"{path} is neither a file nor a folder.", code="no_images")
    try:
        yield from (entry.path for entry in entries_below(folders) if _is_image(entry))
    except OSError as error:
        folder = readable(os.fsencode(error.filename))
        raise BatchError(
            f"The folder {folder} cannot be listed: {error.strerror}. Nothing was begun.", code="unreadable_folder"
        ) from error


def _is_image(entry: os.DirEntry[bytes]) -> bool:
    is_named_so = os.fsdecode(os.path.splitext(entry.name)[1]).lower() in FILE_SUFFIXES
    if not entry.is_file():  # a link that leads nowhere is asked about, so that it is named as unreadable
        return is_named_so and entry.is_symlink() and not os.path.exists(entry.path)
    if is_named_so:
        return True
    try:
        with open(entry.path, "rb") as stream:
            image_format(stream.read(_START_BYTES))
    except (ImageError, OSError):
        return False
    return True


def readable(path: bytes) -> str:
    """A path as text that every file can hold."""
    return path.decode(errors="backslashreplace")


def _name(path: bytes) -> str:
    """Of an image in tables: of the file, without its ending, in Unicode's form NFC, which tables of patients have."""
    return unicodedata.normalize("NFC", readable(os.path.splitext(os.path.basename(path))[0]))


def _require_names(connection: sqlite3.Connection) -> None:
    query = "SELECT name, min(shown), max(shown) FROM found GROUP BY name HAVING count(*) > 1 ORDER BY name"
    same = connection.execute(query).fetchmany(4)
    if same:
        listed = "; ".join(f"{name}: {first}, {last}" for name, first, last in same[:3])
        more = " and others" if len(same) > 3 else ""
        raise BatchError(
            f"Images have the same name, by which the output or the table of patients would name them: {listed}{more}. "
            "Rename them, or take --layout full without --metadata.",
            code="same_names",
        )


def _read_patients(connection: sqlite3.Connection, table: Path) -> None:
    problems: list[str] = []
    for name, patient in read_patients(table, problems):
        row = (name, json.dumps(attrs.asdict(patient)))
        if connection.execute("INSERT OR IGNORE INTO patient VALUES (?, ?)", row).rowcount == 0:
            problems.append(f"{table.name}: {name!r} stands twice")
    if problems:
        raise DatasetError(table, tuple(problems))
