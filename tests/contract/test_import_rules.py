"""The rules of the architecture hold, because the gate refuses what breaks them: shown on a copy of the tree."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

TREE = ("pants", "pants.toml", "pants.cuda.toml", "pyproject.toml", "BUILD", "3rdparty", "build-support")
CODE = ("pants-plugins", "src")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The repository without its tests; pants runs in the folder where the repository's files are."""
    copy = tmp_path_factory.mktemp("house") / "tree"
    copy.mkdir()
    for name in (*TREE, *CODE):
        source = Path.cwd() / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    yield copy
    for file in copy.glob(".pids/**/pid"):
        with contextlib.suppress(psutil.NoSuchProcess):
            daemon = psutil.Process(int(file.read_text()))
            daemon.terminate()
            daemon.wait(60)


def run_gate(tree: Path, *targets: str) -> subprocess.CompletedProcess[str]:
    """``./pants dependencies`` in the copy, whose daemon lives as long as the copy: a start of Pants takes long."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PEX", "PYTHON", "PANTS"))}
    command = ["./pants", "--pantsd", "dependencies", *targets]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)


def test_the_tree_as_it_is_passes(tree: Path) -> None:
    """Otherwise the other tests would prove nothing."""
    done = run_gate(tree, "src::", "3rdparty::")

    assert done.returncode == 0, done.stderr
    assert "src/python/lesion_core/wire.py" in done.stdout


@pytest.mark.parametrize(
    ("module", "statement", "named"),
    [
        ("lesion_core/broken.py", "import torch", "#torch"),
        ("lesion_ui/broken.py", "import lesion_train.cli", "src/python/lesion_train/cli.py"),
        ("lesion_train/broken.py", "import streamlit", "#streamlit"),
        ("lesion_serve/broken.py", "import mlflow", "#mlflow"),
        ("lesion_train/broken.py", "import ts", "#torchserve"),
    ],
)
def test_a_forbidden_import_fails_and_is_named(tree: Path, module: str, statement: str, named: str) -> None:
    """With the file that imports and what it may not import."""
    path = tree / "src" / "python" / module
    path.write_text(f'"""Breaks a rule."""\n\n{statement}\n')
    try:
        done = run_gate(tree, f"src/python/{module}")
    finally:
        path.unlink()

    assert done.returncode == 1
    assert f"src/python/{module}" in done.stderr
    assert named in done.stderr
    assert "DependencyRule" in done.stderr
