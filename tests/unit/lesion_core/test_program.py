"""How every program of ours ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lesion_core.processes import child_environment
from lesion_core.program import FAILED_EXIT_CODE

HEAD = """
import time
from lesion_core.errors import LesionError
from lesion_core.program import run_program
"""
GONE = "LesionError('No such thing.', code='gone')"


def started(body: str, **environment: str) -> subprocess.Popen[str]:
    """A program that does this."""
    code = f"{HEAD}{body}"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=child_environment() | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def ended(body: str, **environment: str) -> tuple[int, str, str]:
    """Its exit code, and what it wrote to each stream."""
    program = started(body, **environment)
    out, err = program.communicate()
    return program.returncode, out, err


def raising(error: str, options: str = "") -> str:
    return f"def run():\n    raise {error}\nrun_program('lesion-x', run{options})"


@pytest.mark.parametrize(
    ("body", "code", "sentence"),
    [
        (raising(GONE), FAILED_EXIT_CODE, "lesion-x: No such thing.\n"),
        (raising(GONE, ", exit_codes={'gone': 4}"), 4, "lesion-x: No such thing.\n"),
        (raising("LesionError('Another.', code='other')", ", exit_codes={'gone': 4}"), 2, "lesion-x: Another.\n"),
        (raising("FileNotFoundError(2, 'No such file', 'x.csv')"), 2, "lesion-x: [Errno 2] No such file: 'x.csv'\n"),
        (raising("OSError(28, 'No space', '/data/x')"), 2, "lesion-x: No room to write to /data/x ("),
        (raising("KeyboardInterrupt"), 130, "lesion-x: stopped.\n"),
        (raising("KeyboardInterrupt('Repeat the command.')"), 130, "lesion-x: stopped. Repeat the command.\n"),
    ],
)
def test_what_can_be_foreseen_is_one_sentence(body: str, code: int, sentence: str) -> None:
    """And an exit code that says what it was."""
    returned, _, err = ended(body)

    assert (returned, err[: len(sentence)], err.count("\n")) == (code, sentence, 1)


def test_an_error_that_nobody_foresaw_is_no_finding() -> None:
    """Exit code 1 would say that a command has found what it looked for; the traceback is shown."""
    code, _, err = ended(raising("OverflowError('date value out of range')"))

    assert code == FAILED_EXIT_CODE
    assert "Traceback" in err
    assert "date value out of range" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_clean_end(number: signal.Signals) -> None:
    """What the program has to tidy up is tidied up; the exit code is what shells and schedulers expect."""
    body = (
        "def run():\n    try:\n        print('up', flush=True)\n        time.sleep(600)\n"
        "    finally:\n        print('tidy')\nrun_program('lesion-x', run)"
    )
    program = started(body)
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == "up\n"
        program.send_signal(number)
        out, err = program.communicate()
    finally:
        program.kill()

    assert (program.returncode, out, err) == (128 + number, "tidy\n", "lesion-x: stopped.\n")


def test_who_reads_no_further_hears_no_complaint(tmp_path: Path) -> None:
    """As head does, after its lines; there is more here than a pipe holds."""
    script = tmp_path / "many.py"
    script.write_text(
        "from lesion_core.program import run_program\n"
        "run_program('lesion-x', lambda: [print('a line', flush=True) for _ in range(100_000)])\n"
    )
    command = f"'{sys.executable}' '{script}' | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], env=child_environment(), capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGPIPE, "a line\n", "")


def test_a_terminal_without_the_letters_shows_the_rest() -> None:
    """Instead of a traceback half-way."""
    code, out, _ = ended("run_program('lesion-x', lambda: print('Müller'))", PYTHONIOENCODING="ascii")

    assert (code, out) == (0, "M?ller\n")
