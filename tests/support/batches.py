"""Batches without a model."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import attrs

from lesion_serve.batch.answering import Answer, Task
from lesion_serve.batch.listing import Listing
from lesion_serve.batch.run import Batch
from lesion_serve.batch.settings import BatchSettings
from support.batch_worker import MODEL, FakeAnswers

SETTINGS = BatchSettings(bundle="0" * 64, version="5", layout="full", paths="images", metadata="", program="1")


class Silent:
    """A progress that nobody sees."""

    def advance(self, images: int, errors: int) -> None:
        """Nothing."""


def silent(images: int, before: int, errors: int) -> Any:
    """For ``run_batch``."""
    return nullcontext(Silent())


def make_batch(folder: Path, *, out: str = "out.csv", layout: Any = "full", **changes: Any) -> Batch:
    """A batch of all that is in ``folder/images``."""
    return Batch(
        out=folder / out,
        model=attrs.evolve(MODEL, layout=layout),
        settings=attrs.evolve(SETTINGS, layout=layout),
        listing=Listing(paths=(folder / "images",), metadata=None, needs_names=layout == "isic"),
        **changes,
    )


def write_images(folder: Path, count: int, content: bytes = b"good") -> Path:
    """Files that are images by their names; the folder."""
    images = folder / "images"
    images.mkdir(exist_ok=True)
    for number in range(count):
        (images / f"{number:04}.jpg").write_bytes(content)
    return images


def answering_with(batch: Batch) -> Any:
    """Answer here, one image at a time."""

    def answers(tasks: Iterator[Task]) -> Generator[Sequence[Answer], None, None]:
        fake = FakeAnswers(batch.model)
        for task in tasks:
            yield [fake.answer(task)]

    return answers
