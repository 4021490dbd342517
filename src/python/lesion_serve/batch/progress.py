"""How far a batch is: a bar on a terminal, a line now and then elsewhere; always on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

LINE_EVERY_S = 30.0


class Progress(Protocol):
    """What is told how far it is."""

    def advance(self, images: int, errors: int) -> None:
        """So many more images are written down, so many of them with an error."""


@contextmanager
def shown_progress(images: int, before: int, errors: int, *, stream: TextIO | None = None) -> Iterator[Progress]:
    """Show the progress of ``images``; ``before`` are written down already, ``errors`` of them with an error."""
    stream = sys.stderr if stream is None else stream
    if stream.isatty():
        with _bar(images, before, errors, stream) as bar:
            yield bar
    else:
        yield _Lines(images, before, errors, stream)


class _Lines:
    """One line at the start, then one every ``LINE_EVERY_S`` seconds, and one at the end."""

    def __init__(self, images: int, before: int, errors: int, stream: TextIO) -> None:
        self._images, self._done, self._errors, self._stream = images, before, errors, stream
        self._before, self._started = before, time.monotonic()
        self._last = self._started
        self._show(f", {before:,} of them answered before" if before else "")

    def advance(self, images: int, errors: int) -> None:
        """See ``Progress``."""
        self._done += images
        self._errors += errors
        now = time.monotonic()
        if now - self._last >= LINE_EVERY_S or self._done == self._images:
            self._last = now
            self._show(f", {(self._done - self._before) / max(now - self._started, 1e-9):.1f} a second")

    def _show(self, more: str) -> None:
        errors = f", {self._errors:,} with an error" if self._errors else ""
        self._stream.write(f"{self._done:,} of {self._images:,} images{errors}{more}\n")
        self._stream.flush()


@contextmanager
def _bar(images: int, before: int, errors: int, stream: TextIO) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("images{task.fields[more]}"), TimeRemainingColumn())
    with RichProgress(*columns, console=Console(file=stream)) as bar:
        task = bar.add_task("", total=images, completed=before, more=_more(errors))

        class _Bar:
            found = errors

            def advance(self, images: int, errors: int) -> None:
                self.found += errors
                bar.update(task, advance=images, more=_more(self.found))

        yield _Bar()


def _more(errors: int) -> str:
    return f", {errors:,} with an error" if errors else ""
