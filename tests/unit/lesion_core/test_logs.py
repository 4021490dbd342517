"""What a program writes to its log, and what it never does."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import structlog

from lesion_core.logs import configure_logging


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def fail(*, subject: str) -> None:
    raise ValueError(f"{len(subject)} letters")


@pytest.mark.parametrize("as_json", [False, True])
def test_a_traceback_shows_code_and_no_values(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """What a function was given may be a key, an image or a patient."""
    configure_logging(as_json=as_json)
    subject = "-".join(["P", "1734", "of", "nobody"])
    try:
        fail(subject=subject)
    except ValueError:
        structlog.get_logger().exception("failed", place="a test")

    written = capsys.readouterr().err
    assert "raise ValueError" in written
    assert "16 letters" in written
    assert subject not in written


def test_an_event_for_programs_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    """With its values as fields."""
    configure_logging(as_json=True)

    structlog.get_logger().info("epoch_done", epoch=3)

    told = json.loads(capsys.readouterr().err)
    assert (told["event"], told["epoch"], told["level"]) == ("epoch_done", 3, "info")
