"""``./pants`` on a machine that lacks something: it says what, and the command that gets it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
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


def environment_of(bare: Path, **variables: str) -> dict[str, str]:
    """An empty home, so that nothing is found under pyenv, in uv's folder or in a cache."""
    return {"PATH": str(bare), "HOME": str(bare.parent), **variables}


def start(bare: Path, *, launcher: Path = LAUNCHER, **variables: str) -> subprocess.CompletedProcess[str]:
    """Start a launcher to its end."""
    environment = environment_of(bare, **variables)
    return subprocess.run([launcher, "--version"], env=environment, capture_output=True, text=True, check=False)


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


def test_a_second_command_does_not_wait_for_the_first(tree: Path, bare: Path) -> None:
    """A program of ours stays up for hours, in one of several terminals: it has the daemon, the others do without."""
    install_a_pants(tree, bare, f'{SAY_HOW}\n[ "$3" = stays ] && read -r line')
    environment = environment_of(bare, LESION_PYTHON=sys.executable)
    with subprocess.Popen(
        [tree / "pants", "stays"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "daemon\n"

        meanwhile = start(bare, launcher=tree / "pants", LESION_PYTHON=sys.executable)
        first.kill()
        first.wait()
        afterwards = start(bare, launcher=tree / "pants", LESION_PYTHON=sys.executable)

    assert (meanwhile.stdout, afterwards.stdout) == ("no daemon\n", "daemon\n"), meanwhile.stderr


def test_the_daemon_that_a_command_leaves_behind_serves_the_next_one(tree: Path, bare: Path) -> None:
    """It was started by a command and inherits its open files; it is no command that still runs."""
    pid = bare.parent / "daemon.pid"
    install_a_pants(tree, bare, f"{SAY_HOW}\n[ -f {pid} ] || {{ {SLEEP} 300 >/dev/null 2>&1 & echo $! >{pid}; }}")
    try:
        said = [start(bare, launcher=tree / "pants", LESION_PYTHON=sys.executable).stdout for _ in range(3)]
        is_alive = psutil.pid_exists(int(pid.read_text()))
    finally:
        os.kill(int(pid.read_text()), signal.SIGKILL)

    assert (said, is_alive) == (["daemon\n"] * 3, True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What the launcher needs of this repository, apart from the tree whose Pants may be running these tests."""
    copy = tmp_path / "tree"
    shutil.copytree(LAUNCHER.parent / "build-support", copy / "build-support")
    for name in ("pants", "pants.toml"):
        shutil.copy(LAUNCHER.parent / name, copy / name)
    return copy


SAY_HOW = 'echo "${PANTS_CONCURRENT:+no }daemon"'
SLEEP = shutil.which("sleep")


def install_a_pants(tree: Path, bare: Path, script: str) -> None:
    """A shell script where the launcher would have installed Pants 2.17.1."""
    support = tree / "build-support/pants"
    content = (support / "bootstrap.lock").read_bytes() + (support / "bootstrap.py").read_bytes()
    checksum = subprocess.run(["cksum"], input=content, capture_output=True, check=True).stdout.split()[0].decode()
    home = bare.parent / f".cache/pants-bootstrap/2.17.1-{checksum}"
    python = home / "venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    (home / "pex").touch()
