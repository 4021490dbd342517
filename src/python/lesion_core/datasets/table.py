"""From the rows of a data set's own tables to records: every row is checked, and every problem is listed.

A reader states its layout only: which tables and columns there are, and what its codes mean. It turns its tables into
``RawRow`` values, all of them text, and ``Reading.of`` does the rest.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import attrs

from lesion_core.data_source import UNSTATED, DataSource
from lesion_core.datasets.cells import age_of, number_of, sex_of, site_of
from lesion_core.errors import DatasetError, UnknownDiagnosisError
from lesion_core.records import Dataset, ImageRecord
from lesion_core.taxonomy import ISIC_2019, Diagnosis, Taxonomy

_FITZPATRICK = {"I": 1, "II": 2, "III": 3, "IV": 4, "V": 5, "VI": 6}


@attrs.frozen(kw_only=True)
class TableRow:
    """One row of a table, and where it stands: ``file row N``."""

    where: str
    cells: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        """Text of a cell without spaces around it; empty where there is no such column."""
        return self.cells.get(column, "").strip()


@attrs.frozen(kw_only=True)
class RawRow:
    """What a data set says about one image, as it says it.

    ``labels`` holds all diagnoses that are marked, one in a good row. ``path`` is ``None`` where no file was found,
    and ``expected`` then says which one was looked for. ``described_at`` is where age, sex and site stand.
    """

    where: str
    image_id: str
    labels: tuple[str, ...]
    path: Path | None
    expected: str
    lesion_id: str = ""
    patient_id: str = ""
    age: str = ""
    sex: str = ""
    site: str = ""
    fitzpatrick: str = ""
    source: str | None = None
    described_at: str | None = None


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
                problems.append(
                    f"{path.name}: columns missing: {', '.join(lacking)}; it has {', '.join(header) or '-'}"
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


@attrs.frozen(kw_only=True)
class Reading:
    """What a reader found: a data set of the good rows, and a line for everything that is wrong with the others."""

    folder: Path
    dataset: Dataset
    problems: tuple[str, ...]

    @classmethod
    def of(
        cls,
        folder: Path,
        layout: str,
        rows: Iterable[RawRow],
        problems: list[str],
        *,
        test: Iterable[RawRow] = (),
        codes: Mapping[str, str] | None = None,
        sites: Mapping[str, str] | None = None,
        taxonomy: Taxonomy = ISIC_2019,
        left_out: Mapping[str, int] | None = None,
        source: DataSource = UNSTATED,
    ) -> Reading:
        """Check all rows.

        Args:
            folder: where the data set lies.
            layout: name of the layout.
            rows: of the images for training.
            problems: those that the reader found itself; the rows' problems are appended.
            test: rows of the images that the source sets apart.
            codes: the source's own codes, in small letters, with ours; others are looked up in the taxonomy.
            sites: the source's own body sites, in small letters, with the archive's; ``""`` for one that says nothing.
            taxonomy: what labels are resolved in.
            left_out: see ``Dataset``.
            source: see ``Dataset``.
        """
        check = _RowCheck(taxonomy, codes or {}, sites or {}, problems)
        records, held_out = check.all(rows), check.all(test)
        if not (records or held_out or problems):
            problems.append(f"{layout}: there is no image in it")
        dataset = Dataset(
            name=f"{layout}:{folder.resolve().name}",
            taxonomy=taxonomy,
            records=records,
            test=held_out,
            left_out=dict(left_out or {}),
            source=source,
        )
        return cls(folder=folder, dataset=dataset, problems=tuple(problems))

    def require(self) -> Dataset:
        """The data set.

        Raises:
            DatasetError: there are problems; it lists all of them.
        """
        if self.problems:
            raise DatasetError(self.folder, self.problems)
        return self.dataset


class _RowCheck:
    """Rules for one row, and for ids across rows."""

    def __init__(
        self, taxonomy: Taxonomy, codes: Mapping[str, str], sites: Mapping[str, str], problems: list[str]
    ) -> None:
        self.taxonomy, self.codes, self.sites, self.problems = taxonomy, codes, sites, problems
        self.first_seen: dict[str, str] = {}
        self.resolved: dict[str, Diagnosis] = {}

    def all(self, rows: Iterable[RawRow]) -> tuple[ImageRecord, ...]:
        records = [record for row in rows if (record := self.one(row)) is not None]
        return tuple(sorted(records, key=lambda record: record.isic_id))

    def one(self, row: RawRow) -> ImageRecord | None:
        before = len(self.problems)
        image = repr(row.image_id)
        if not row.image_id:
            self.problems.append(f"{row.where}: the id of the image is blank")
        elif (first := self.first_seen.setdefault(row.image_id, row.where)) != row.where:
            self.problems.append(f"{row.where}: {image} stands twice, first in {first}")
        if row.path is None:
            self.problems.append(f"{row.where}: {row.expected} is missing")
        diagnosis = self._diagnosis(row)
        described = row.described_at or row.where
        age = age_of(row.age, f"{described}: age of {image}", self.problems)
        skin = _FITZPATRICK.get(row.fitzpatrick.upper(), row.fitzpatrick)
        where = f"{described}: skin type of {image}"
        fitzpatrick = number_of(str(skin), where, 1, 6, "a Fitzpatrick type", self.problems)
        sex = sex_of(row.sex, f"{described}: sex of {image}", self.problems)
        site = site_of(row.site, f"{described}: body site of {image}", self.problems, known=self.sites)
        if len(self.problems) > before or row.path is None:
            return None
        return ImageRecord(
            isic_id=row.image_id,
            path=row.path,
            diagnosis=diagnosis,
            lesion_id=row.lesion_id or f"image:{row.image_id}",
            patient_id=row.patient_id or None,
            age_approx=age,
            sex=sex,
            anatom_site_general=site,
            fitzpatrick=None if fitzpatrick is None else round(fitzpatrick),
            source=row.source,
            listed_at=row.where,
        )

    def _diagnosis(self, row: RawRow) -> str:
        if len(row.labels) != 1:
            named = f" ({', '.join(row.labels)})" if row.labels else ""
            self.problems.append(
                f"{row.where}: {row.image_id!r} has {len(row.labels)} diagnoses{named}, needs exactly one"
            )
            return ""
        (label,) = row.labels
        diagnosis = self.resolved.get(label)
        if diagnosis is None:
            try:
                diagnosis = self.taxonomy.resolve(self.codes.get(label.lower(), label))
            except UnknownDiagnosisError as error:
                self.problems.append(f"{row.where}: {error}")
                return ""
            self.resolved[label] = diagnosis
        if diagnosis == self.taxonomy.none_of_the_above:
            self.problems.append(
                f"{row.where}: {row.image_id!r} is labelled {label!r}, which cannot be trained; remove it"
            )
        return diagnosis.code
