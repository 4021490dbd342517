"""Ten thousand hostile files, in a process of their own."""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
import sys

import pytest

from lesion_core.processes import child_environment
from support import hostile_run
from support.hostile import hostile_files

FILES = 10_000
MAX_SECONDS = 2.0
MAX_MB = 500


@pytest.fixture(scope="module")
def report() -> hostile_run.HostileReport:
    """Of decoding all of them. Nothing may reach the standard streams, where it would fill a server's log."""
    done = subprocess.run(
        [sys.executable, "-m", hostile_run.__name__, str(FILES)],
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    return hostile_run.HostileReport(**json.loads(done.stdout))


def test_every_file_is_an_image_or_a_named_error(report: hostile_run.HostileReport) -> None:
    """Each kind of outcome occurs, so the corpus reaches behind the first check."""
    assert report.files == FILES
    assert report.broken_promises == []
    assert {
        *("image", "empty_body", "unsupported_format", "unsupported_encoding", "too_many_bytes", "too_many_pixels"),
        *("too_small", "animated", "several_images", "corrupt_image"),
    } == set(report.outcomes)


def test_no_file_takes_long(report: hostile_run.HostileReport) -> None:
    """The bound is the requirement, in seconds of the processor, so that a busy machine does not matter."""
    seconds, name = report.slowest[0]

    assert seconds < MAX_SECONDS, name


def test_no_file_takes_much_memory(report: hostile_run.HostileReport) -> None:
    """Of the whole process, with Python, the decoders and the file itself."""
    assert report.peak_mb < MAX_MB


def test_decoders_warn_of_nothing(report: hostile_run.HostileReport) -> None:
    """Their warnings would quote what a file says of a patient."""
    assert report.warned == []


def test_the_corpus_is_the_same_for_the_same_seed() -> None:
    """A file that fails can be made again. Those made by hand come first, and are the same for every seed."""

    def digests(seed: int) -> list[str]:
        files = itertools.islice(hostile_files(seed, 2000), 1900, 2000)
        return [hashlib.sha256(data).hexdigest() for _, data in files]

    assert digests(3) == digests(3)
    assert digests(3) != digests(4)
