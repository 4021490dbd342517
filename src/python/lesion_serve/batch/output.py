"""The table that a batch ends with: written beside its place, and put there when it is whole."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from lesion_core.durable import sync
from lesion_serve.batch.errors import BatchError
from lesion_serve.batch.layouts import ERROR_COLUMNS, Cells, Column, Layout

Rows = Iterable[Cells]
_ROW_GROUP = 4096  # rows of a Parquet file that are in memory at a time


def require_output(out: Path) -> None:
    """Check the name of the output before anything is begun.

    Raises:
        BatchError: ``bad_output``: another ending, or its folder is not there.
    """
    if out.suffix not in _WRITERS:
        raise BatchError(f"The output's name ends in {' or '.join(_WRITERS)}, got {out.name!r}.", code="bad_output")
    if not out.parent.is_dir():
        raise BatchError(f"The folder {out.parent} of the output does not exist. Make it first.", code="bad_output")


def errors_of(out: Path) -> Path:
    """Where the images without an answer are listed, if the output has no rows for them."""
    return out.with_name(f"{out.stem}.errors{out.suffix}")


def write_output(out: Path, layout: Layout, rows: Callable[[], Iterator[tuple[bool, Cells]]]) -> None:
    """Write the table, and the table of errors beside it where the layout keeps none; what lies there is replaced.

    Args:
        out: ends in ``.csv`` (UTF-8, cells without a value are empty) or ``.parquet``.
        layout: of the rows.
        rows: gives all rows each time; the flag says whether the image has an error.
    """
    if layout.keeps_errors:
        _write(out, layout.columns, (cells for _, cells in rows()))
        return
    beside = errors_of(out)
    if any(is_error for is_error, _ in rows()):
        _write(beside, ERROR_COLUMNS, (cells for is_error, cells in rows() if is_error))
    else:
        beside.unlink(missing_ok=True)
    _write(out, layout.columns, (cells for is_error, cells in rows() if not is_error))


def _write(out: Path, columns: tuple[Column, ...], rows: Rows) -> None:
    staging = out.with_name(f".{out.name}.writing")
    try:
        _WRITERS[out.suffix](staging, columns, rows)
        sync(staging)
        staging.replace(out)
        sync(out.parent)
    finally:
        staging.unlink(missing_ok=True)


def _write_csv(path: Path, columns: tuple[Column, ...], rows: Rows) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow([column.name for column in columns])
        for cells in rows:
            table.writerow([str(cell).lower() if isinstance(cell, bool) else cell for cell in cells])


def _write_parquet(path: Path, columns: tuple[Column, ...], rows: Rows) -> None:
    import pyarrow
    import pyarrow.parquet

    kinds = {"text": pyarrow.string(), "number": pyarrow.float64(), "count": pyarrow.int64(), "flag": pyarrow.bool_()}
    schema = pyarrow.schema([(column.name, kinds[column.kind]) for column in columns])
    iterator = iter(rows)
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        while group := list(islice(iterator, _ROW_GROUP)):
            arrays = [
                pyarrow.array(values, kind) for values, kind in zip(zip(*group, strict=True), schema.types, strict=True)
            ]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))


_WRITERS = {".csv": _write_csv, ".parquet": _write_parquet}
