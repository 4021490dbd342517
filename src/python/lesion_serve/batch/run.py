"""A batch from its images to its finished table; a run that was killed goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path

import attrs

from lesion_serve.batch.answering import Answering, Model
from lesion_serve.batch.errors import BatchError
from lesion_serve.batch.journal import Journal, journal_of
from lesion_serve.batch.layouts import Cells, layout_of
from lesion_serve.batch.listing import Listing
from lesion_serve.batch.output import require_output, write_output
from lesion_serve.batch.progress import Progress
from lesion_serve.batch.settings import BatchSettings


@attrs.frozen(kw_only=True)
class Batch:
    """What shall be done.

    Attributes:
        out: file of the output, ``.csv`` or ``.parquet``.
        model: that answers.
        settings: that the answers depend on.
        listing: of the images.
        overwrite: replace an output that exists, and forget an unfinished run.
    """

    out: Path
    model: Model
    settings: BatchSettings
    listing: Listing
    overwrite: bool = False


@attrs.frozen(kw_only=True)
class Summary:
    """What was done.

    Attributes:
        out: the table.
        images: all of them.
        errors: images by the code of their error.
        before: images that had been answered by earlier runs.
        seconds: of this run.
    """

    out: Path
    images: int
    errors: dict[str, int]
    before: int
    seconds: float


# Takes the images, and how many are written down already, with and without an error.
Showing = Callable[[int, int, int], AbstractContextManager[Progress]]


def run_batch(batch: Batch, answering: Answering, show: Showing) -> Summary:
    """Answer for all images and write the output. An answer is on the disk before the next ones are taken in.

    Raises:
        BatchError: it cannot begin or go on; what was answered is kept.
        DatasetError: the table of patients has problems.
    """
    started = time.monotonic()
    require_output(batch.out)
    journal_path = journal_of(batch.out)
    if batch.out.exists() and not journal_path.exists() and not batch.overwrite:
        raise BatchError(
            f"{batch.out} exists already. Name another file with --out, or replace it with --overwrite.",
            code="output_exists",
        )
    with Journal.open(journal_path, batch.settings, batch.listing, afresh=batch.overwrite) as journal:
        images, before = journal.images, journal.answered
        with (
            show(images, before, sum(journal.errors().values())) as progress,
            closing(answering(journal.open_tasks())) as answers,
        ):
            for some in answers:
                journal.write(some)
                progress.advance(len(some), sum(one.error is not None for one in some))
        if (answered := journal.answered) != images:
            repeat = "Repeat the command without --overwrite." if batch.overwrite else "Repeat the command."
            raise BatchError(f"{images - answered:,} images had no answer. {repeat}", code="workers_died")
        _write(batch, journal)
        summary = Summary(
            out=batch.out,
            images=images,
            errors=journal.errors(),
            before=before,
            seconds=time.monotonic() - started,
        )
        journal.remove()
    return summary


def _write(batch: Batch, journal: Journal) -> None:
    layout = layout_of(batch.settings.layout, batch.model.codes)

    def rows() -> Iterator[tuple[bool, Cells]]:
        for row in journal.rows():
            is_error = row.error is not None
            name = row.shown if layout.keeps_errors or is_error else row.name
            yield is_error, (name, *row.cells)

    write_output(batch.out, layout, rows)
