"""Reading the CSV files of data sets: their rows with the place of each, and what is wrong with the files."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import attrs


@attrs.frozen(kw_only=True)
class TableRow:
    """One row of a table, and where it stands: ``file row N``."""

    where: str
    cells: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        """Text of a cell in Unicode's form NFC, without spaces around it; empty where there is no such column."""
        return unicodedata.normalize("NFC", self.cells.get(column, "").strip())


def read_table(path: Path, problems: list[str], *, columns: Iterable[str]) -> list[TableRow]:
    """All rows of ``iterate_table``."""
    return list(iterate_table(path, problems, columns=columns))


def iterate_table(path: Path, problems: list[str], *, columns: Iterable[str]) -> Iterator[TableRow]:
    """Read a CSV file (tab-separated where its name ends in ``.tab``) with a header, a row at a time.

    A row is numbered by its line in the file; the header is row 1. A file that cannot be used at all is one problem
    and gives no rows.

    Args:
        path: the file.
        problems: what is wrong is appended here.
        columns: those that have to be there.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, delimiter="\t" if path.suffix == ".tab" else ",", strict=True)
            header = [name.strip() for name in next(reader, [])]
            lacking = [column for column in columns if column not in header]
            if lacking:
                is_other = len(header) == 1 and ";" in header[0]
                problems.append(
                    f"{path.name}: its columns are parted by semicolons; save it with commas"
                    if is_other
                    else f"{path.name}: columns missing: {', '.join(lacking)}; it has {', '.join(header) or '-'}"
                )
                return
            for cells in reader:
                if not any(cells):
                    continue
                where = f"{path.name} row {reader.line_num}"
                if len(cells) != len(header):
                    problems.append(f"{where}: has {len(cells)} cells, the header {len(header)}")
                    continue
                yield TableRow(where=where, cells=dict(zip(header, cells, strict=True)))
    except OSError as error:
        problems.append(f"{path.name}: cannot be read ({error.strerror})")
    except UnicodeDecodeError as error:
        problems.append(f"{path.name}: is not UTF-8 text (byte {error.start}); save it as CSV in UTF-8")
    except csv.Error as error:
        problems.append(f"{path.name} row {reader.line_num}: is not CSV ({error})")


def has_columns(path: Path, columns: Iterable[str]) -> bool:
    """Is this a CSV file that has these columns?"""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            return set(columns) <= {name.strip() for name in next(csv.reader(stream), [])}
    except (OSError, UnicodeDecodeError, csv.Error):
        return False  # another kind of file: no layout of ours, and no problem yet


def index_rows(rows: Iterable[TableRow], column: str, problems: list[str]) -> dict[str, TableRow]:
    """Rows by the text of a column; a second row with the same text is a problem."""
    index: dict[str, TableRow] = {}
    for row in rows:
        first = index.setdefault(row[column], row)
        if first is not row:
            problems.append(f"{row.where}: {row[column]!r} stands twice, first in {first.where}")
    return index
