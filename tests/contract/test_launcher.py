"""``./pants`` on a machine that lacks something: it says what, and the command that gets it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LAUNCHER = Path.cwd() / "pants"
TOOLS = ("bash", "cat", "cksum", "cut", "dirname", "env", "head", "mkdir", "mv", "readlink", "sed", "tr", "wc")


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
