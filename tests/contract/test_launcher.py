"""``./pants`` on a machine that lacks something: it says what, and the command that gets it."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LAUNCHER = Path.cwd() / "pants"
TOOLS = ("bash", "cat", "cksum", "cut", "dirname", "env", "flock", "head", "mkdir", "mv", "readlink", "sed", "tr", "wc")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder for PATH with the usual tools, but without any Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        (folder / tool).symlink_to(shutil.which(tool) or f"/bin/{tool}")
    return folder


def start(bare: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Start with an empty home, so that nothing is found under pyenv, in uv's folder or in a cache."""
    everything = {"PATH": str(bare), "HOME": str(bare.parent), **environment}
    return subprocess.run([LAUNCHER, "--version"], env=everything, capture_output=True, text=True, check=False)


def test_it_names_the_python_of_our_code(bare: Path) -> None:
    """With three ways to get it."""
    done = start(bare)

    assert done.returncode == 2
    assert "Python 3.11 is needed to run this project's code" in done.stderr
    assert "uv python install 3.11" in done.stderr


def test_it_names_the_python_of_pants(bare: Path) -> None:
    """Which is another one."""
    done = start(bare, LESION_PYTHON=sys.executable)

    assert done.returncode == 2
    assert "Python 3.9 is needed to run Pants 2.17.1 itself" in done.stderr
    assert "uv python install 3.9" in done.stderr


def test_it_takes_no_other_python_than_the_named_one(bare: Path) -> None:
    """A knob that is silently passed over would be found out much later."""
    done = start(bare, LESION_PYTHON="/bin/false")

    assert done.returncode == 2
    assert "/bin/false is not one" in done.stderr


@pytest.mark.parametrize(
    "place", [".pyenv/versions/3.11.9/bin/python", ".local/share/uv/python/cpython-3.11.9-linux/bin/python3"]
)
def test_it_finds_a_python_that_is_not_on_path(bare: Path, place: str) -> None:
    """So the next thing that is missing is named."""
    python = bare.parent / place
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)

    assert "Python 3.9 is needed" in start(bare).stderr


@pytest.mark.parametrize(("another_runs", "expected"), [(False, "daemon"), (True, "no daemon")])
def test_a_second_command_does_not_wait_for_the_first(bare: Path, another_runs: bool, expected: str) -> None:
    """A program of ours stays up for hours, in one of several terminals."""
    install_a_pants_that_says(bare, "${PANTS_CONCURRENT:+no }daemon")
    with LAUNCHER.open() as lock:
        if another_runs:
            fcntl.flock(lock, fcntl.LOCK_EX)

        done = start(bare, LESION_PYTHON=sys.executable)

    assert done.stdout.strip() == expected, done.stderr


def install_a_pants_that_says(bare: Path, text: str) -> None:
    """Where the launcher would have installed Pants 2.17.1."""
    support = LAUNCHER.parent / "build-support/pants"
    content = (support / "bootstrap.lock").read_bytes() + (support / "bootstrap.py").read_bytes()
    checksum = subprocess.run(["cksum"], input=content, capture_output=True, check=True).stdout.split()[0].decode()
    home = bare.parent / f".cache/pants-bootstrap/2.17.1-{checksum}"
    python = home / "venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\necho "{text}"\n')
    python.chmod(0o755)
    (home / "pex").touch()
