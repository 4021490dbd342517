"""A batch from its images to its table, and again where it was stopped; without a model."""

from __future__ import annotations

import csv
import io
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import attrs
import pytest

from lesion_serve.batch.answering import Answer, Task
from lesion_serve.batch.errors import BatchError
from lesion_serve.batch.journal import Journal, journal_of
from lesion_serve.batch.pool import DEATHS_OF_AN_IMAGE, WorkerPool
from lesion_serve.batch.progress import shown_progress
from lesion_serve.batch.run import Batch, Summary, run_batch
from support import batch_worker
from support.batch_worker import BAD, DEADLY, DEADLY_ONCE, asked
from support.batches import SETTINGS, answering_with, make_batch, silent, write_images


class StoppedError(Exception):
    """As Ctrl-C would."""


def stop_after(batch: Batch, images: int) -> None:
    """Run a batch until so many images are answered."""

    def answers(tasks: Iterator[Task]) -> Generator[Sequence[Answer], None, None]:
        for number, some in enumerate(answering_with(batch)(tasks)):
            if number == images:
                raise StoppedError
            yield some

    with pytest.raises(StoppedError):
        run_batch(batch, answers, silent)


def run(batch: Batch) -> Summary:
    return run_batch(batch, answering_with(batch), silent)


def test_a_stopped_run_goes_on_and_asks_nothing_again(tmp_path: Path) -> None:
    """Its table equals that of a run which was never stopped, to the last byte."""
    images = write_images(tmp_path, 9)
    (images / "0003.jpg").write_bytes(BAD)
    whole = make_batch(tmp_path, out="whole.csv")
    run(whole)
    (images / "asked.log").unlink()
    batch = make_batch(tmp_path)

    for count in (3, 2):
        stop_after(batch, count)
    summary = run(batch)

    assert (summary.images, summary.before, summary.errors) == (9, 5, {"corrupt_image": 1})
    assert batch.out.read_bytes() == whole.out.read_bytes()
    assert len(asked(images)) == 9 + 2  # and those two that were asked about when it was stopped
    assert not list(tmp_path.glob("*.unfinished*"))


@pytest.mark.parametrize("name", sorted(attrs.fields_dict(type(SETTINGS))))
def test_another_setting_is_named_and_refused(tmp_path: Path, name: str) -> None:
    """What was answered stays for the command that began it."""
    write_images(tmp_path, 3)
    batch = make_batch(tmp_path)
    stop_after(batch, 1)
    other = attrs.evolve(batch, settings=attrs.evolve(SETTINGS, **{name: "isic"}))  # type: ignore[arg-type]

    with pytest.raises(BatchError, match=rf"{name} was .*, is isic.*--overwrite") as caught:
        run(other)

    assert caught.value.code == "another_run"
    assert run(batch).before == 1


def test_a_run_can_be_begun_anew(tmp_path: Path) -> None:
    """With other settings, and over an output that exists."""
    write_images(tmp_path, 3)
    batch = make_batch(tmp_path)
    stop_after(batch, 2)
    anew = attrs.evolve(batch, settings=attrs.evolve(SETTINGS, version="6"), overwrite=True)

    assert run(anew).before == 0
    with pytest.raises(BatchError, match="exists already") as caught:
        run(batch)
    assert caught.value.code == "output_exists"
    assert run(anew).images == 3


def test_two_runs_cannot_write_one_output(tmp_path: Path) -> None:
    """The second is told, also where it would begin anew, and harms nothing."""
    write_images(tmp_path, 3)
    batch = make_batch(tmp_path)
    with Journal.open(journal_of(batch.out), batch.settings, batch.listing):
        for second in (batch, attrs.evolve(batch, overwrite=True)):
            with pytest.raises(BatchError, match="Another run works on") as caught:
                run(second)
            assert caught.value.code == "in_use"

    assert run(batch).images == 3


def test_a_damaged_journal_is_named(tmp_path: Path) -> None:
    """And left where it is."""
    write_images(tmp_path, 3)
    batch = make_batch(tmp_path)
    journal_of(batch.out).write_text("not a database, but long enough to be one" * 30)

    with pytest.raises(BatchError, match="is damaged") as caught:
        run(batch)
    assert caught.value.code == "damaged_journal"
    assert journal_of(batch.out).exists()


def test_the_isic_layout_names_images_without_ending_and_lists_errors_apart(tmp_path: Path) -> None:
    """As the challenge's scoring expects it."""
    images = write_images(tmp_path, 3)
    (images / "0001.jpg").write_bytes(BAD)
    batch = make_batch(tmp_path, layout="isic")
    run(batch)

    assert [line.split(",")[0] for line in batch.out.read_text().splitlines()] == ["image", "0000", "0002"]
    with (tmp_path / "out.errors.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert row["image"].endswith("images/0001.jpg")


def test_a_worker_that_dies_is_replaced_and_an_image_that_kills_two_is_an_error(tmp_path: Path) -> None:
    """One death is bad luck and costs nothing; all others are answered, each once."""
    images = write_images(tmp_path, 12)
    (images / "0002.jpg").write_bytes(DEADLY)
    (images / "0005.jpg").write_bytes(DEADLY_ONCE)
    batch = make_batch(tmp_path)
    pool = WorkerPool(batch.model, workers=2, program=batch_worker.__name__)
    summary = run_batch(batch, pool.answers, silent)

    assert summary.errors == {"worker_died": 1}
    with batch.out.open(newline="") as stream:
        wrong = [row for row in csv.DictReader(stream) if row["error_code"]]
    assert [row["image"].endswith("0002.jpg") for row in wrong] == [True]
    assert "exit code -9" in wrong[0]["error_message"]
    times = {f"{number:04}.jpg": 1 for number in range(12)} | {"0002.jpg": DEATHS_OF_AN_IMAGE, "0005.jpg": 2}
    assert {name: asked(images).count(name) for name in times} == times


def test_workers_that_die_while_loading_end_the_run_with_a_reason(tmp_path: Path) -> None:
    """Otherwise it would start them for ever."""
    write_images(tmp_path, 3)
    batch = make_batch(tmp_path)
    pool = WorkerPool(attrs.evolve(batch.model, folder="dies"), workers=1, program=batch_worker.__name__)

    with pytest.raises(BatchError, match=r"exit code -9.*--workers") as caught:
        run_batch(batch, pool.answers, silent)
    assert caught.value.code == "workers_died"


def test_a_model_that_does_not_load_ends_the_run_with_its_reason(tmp_path: Path) -> None:
    """In its own words."""
    write_images(tmp_path, 1)
    batch = make_batch(tmp_path)

    with pytest.raises(BatchError, match="/nowhere is not a bundle") as caught:
        run_batch(batch, WorkerPool(batch.model, workers=1).answers, silent)
    assert caught.value.code == "model_did_not_load"


def test_progress_is_lines_where_there_is_no_terminal_and_a_bar_where_there_is_one() -> None:
    """A log gets no control characters."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream in (io.StringIO(), Terminal()):
        with shown_progress(10, 4, 1, stream=stream) as progress:
            progress.advance(6, 2)
        text, is_terminal = stream.getvalue(), stream.isatty()
        assert "10/10" in text or "10 of 10" in text
        assert "3 with an error" in text
        assert is_terminal or (text.startswith("4 of 10 images, 1 with an error, 4 of them") and "\x1b" not in text)
