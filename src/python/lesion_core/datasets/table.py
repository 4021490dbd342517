"""From the rows of a data set's own tables to records: every row is checked, and every problem is listed.

A reader states its layout only: which tables and columns there are, and what its codes mean. It turns its tables into
``RawRow`` values, all of them text, and ``Reading.of`` does the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import attrs

from lesion_core.data_source import UNSTATED, DataSource
from lesion_core.datasets.cells import age_of, id_of, number_of, sex_of, site_of
from lesion_core.errors import DatasetError, UnknownDiagnosisError
from lesion_core.records import UNNAMED_LESION, Dataset, ImageRecord
from lesion_core.taxonomy import ISIC_2019, Diagnosis, Taxonomy

_FITZPATRICK = {"I": 1, "II": 2, "III": 3, "IV": 4, "V": 5, "VI": 6}


@attrs.frozen(kw_only=True)
class RawRow:
    """What a data set says about one image, as it says it.

    ``labels`` holds all diagnoses that are marked, one in a good row. ``path`` is ``None`` where no file was found,
    and ``expected`` then says which one was looked for; blank where all are missing, which the reader says once.
    A ``lesion_id`` or ``patient_id`` that says that it is not known (``cells.UNKNOWN``) is none.
    ``described_at`` is where age, sex and site stand, and ``labelled_at`` where the label does, if not in a row.
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
    labelled_at: str | None = None


def note_of(what: str, names: Collection[str]) -> tuple[str, ...]:
    """A note about some images or rows with the first of their names, or none where there are none of them."""
    first = ", ".join(sorted(names)[:3])
    return (f"{len(names):,} {what}: {first}{', …' if len(names) > 3 else ''}",) if names else ()


@attrs.frozen(kw_only=True)
class Reading:
    """What a reader found: a data set of the good rows, and a line for everything that is wrong with the others.

    ``rejected`` and ``rejected_test`` are the images of bad rows that have a file, so that whoever lists problems can
    look at these files as well; what is wrong in such a row is blank. ``none`` and ``none_test`` are those of them
    whose only fault, in ``none_problems``, is the label *none of the above*: one can measure with them, not train.
    """

    folder: Path
    dataset: Dataset
    problems: tuple[str, ...]
    rejected: tuple[ImageRecord, ...] = ()
    rejected_test: tuple[ImageRecord, ...] = ()
    none: tuple[ImageRecord, ...] = ()
    none_test: tuple[ImageRecord, ...] = ()
    none_problems: frozenset[str] = frozenset()

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
        notes: Iterable[str] = (),
        rejected: Sequence[ImageRecord] = (),
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
            notes: see ``Dataset``.
            rejected: images for training that the reader itself rejected.
            source: see ``Dataset``.
        """
        check = _RowCheck(taxonomy, codes or {}, sites or {}, problems)
        records, bad, none = check.all(rows)
        held_out, bad_test, none_test = check.all(test)
        if not (records or held_out or problems):
            problems.append(f"{layout}: there is no image in it")
        dataset = Dataset(
            name=f"{layout}:{folder.resolve().name}",
            taxonomy=taxonomy,
            records=records,
            test=held_out,
            left_out=dict(left_out or {}),
            notes=tuple(notes),
            source=source,
        )
        return cls(
            folder=folder,
            dataset=dataset,
            problems=tuple(problems),
            rejected=(*rejected, *bad),
            rejected_test=bad_test,
            none=none,
            none_test=none_test,
            none_problems=frozenset(check.none_problems),
        )

    def require(self, *, with_none: bool = False) -> Dataset:
        """The data set.

        Args:
            with_none: images that are labelled *none of the above* are no problem, and part of it.
        Raises:
            DatasetError: there are problems; it lists all of them.
        """
        problems = tuple(line for line in self.problems if not (with_none and line in self.none_problems))
        if problems:
            raise DatasetError(self.folder, problems)
        if not with_none:
            return self.dataset
        return attrs.evolve(
            self.dataset,
            records=_by_id((*self.dataset.records, *self.none)),
            test=_by_id((*self.dataset.test, *self.none_test)),
        )


class _RowCheck:
    """Rules for one row, and for ids across rows."""

    def __init__(
        self, taxonomy: Taxonomy, codes: Mapping[str, str], sites: Mapping[str, str], problems: list[str]
    ) -> None:
        self.taxonomy, self.codes, self.sites, self.problems = taxonomy, codes, sites, problems
        self.first_seen: dict[str, str] = {}
        self.resolved: dict[str, Diagnosis] = {}
        self.none_problems: set[str] = set()

    def all(
        self, rows: Iterable[RawRow]
    ) -> tuple[tuple[ImageRecord, ...], tuple[ImageRecord, ...], tuple[ImageRecord, ...]]:
        """Records of the good rows, of the bad ones that have a file, and of those that are bad for training only."""
        good: list[ImageRecord] = []
        bad: list[ImageRecord] = []
        none: list[ImageRecord] = []
        for row in rows:
            before = len(self.problems)
            record = self.one(row)
            if record is None:
                continue
            found, is_none = self.problems[before:], record.diagnosis == self.taxonomy.none_of_the_above.code
            (bad if found or is_none else good).append(record)
            if is_none and self.none_problems.issuperset(found):
                none.append(record)
        return _by_id(good), tuple(bad), tuple(none)

    def one(self, row: RawRow) -> ImageRecord | None:
        image = repr(row.image_id)
        if not row.image_id:
            self.problems.append(f"{row.where}: the id of the image is blank")
        elif (first := self.first_seen.setdefault(row.image_id, row.where)) != row.where:
            self.problems.append(f"{row.where}: {image} stands twice, first in {first}")
        if row.path is None and row.expected:
            self.problems.append(f"{row.where}: {row.expected} is missing")
        diagnosis = self._diagnosis(row)
        described = row.described_at or row.where
        age = age_of(row.age, f"{described}: age of {image}", self.problems)
        skin = _FITZPATRICK.get(row.fitzpatrick.upper(), row.fitzpatrick)
        where = f"{described}: skin type of {image}"
        fitzpatrick = number_of(str(skin), where, 1, 6, "a Fitzpatrick type", self.problems)
        sex = sex_of(row.sex, f"{described}: sex of {image}", self.problems)
        site = site_of(row.site, f"{described}: body site of {image}", self.problems, known=self.sites)
        if row.path is None:
            return None
        return ImageRecord(
            isic_id=row.image_id,
            path=row.path,
            diagnosis=diagnosis,
            lesion_id=id_of(row.lesion_id) or f"{UNNAMED_LESION}{row.image_id}",
            patient_id=id_of(row.patient_id) or None,
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
            where = row.labelled_at or f"{row.where}: {row.image_id!r} is"
            problem = f"{where} labelled {label!r}, which cannot be trained; remove it"
            if problem not in self.none_problems:  # a folder is named once, not for each of its images
                self.problems.append(problem)
            self.none_problems.add(problem)
        return diagnosis.code


def _by_id(records: Iterable[ImageRecord]) -> tuple[ImageRecord, ...]:
    return tuple(sorted(records, key=lambda record: record.isic_id))
