"""The door of serving."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lesion_core.errors import LesionError
from lesion_core.processes import child_environment
from lesion_serve.engine.java import find_java, java_version
from lesion_serve.registry import RegistryError, fetch_bundle


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lesion_serve", *arguments],
        env=child_environment({"LESION_HOME": str(home)}),
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_names_every_command_and_says_research_use_only(tmp_path: Path) -> None:
    """Good enough to work from."""
    shown = run(tmp_path, "--help").stdout

    assert "Research use only" in shown
    for command in ("archive", "start", "predict", "inspect"):
        assert command in shown
    assert "--port" in run(tmp_path, "start", "--help").stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["start", "nowhere"], "is not a bundle"),
        (["start", "nowhere.mar"], "is not an archive"),
        (["start", "models:/skin-lesion@champion"], "lesion-train fit"),
        (["archive", "models:/odd@@name"], "models:/<name>@<alias>"),
        (["predict", "image.jpg"], "Start the server first"),
    ],
)
def test_a_named_error_is_one_sentence_and_exit_code_2(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    """No traceback."""
    done = run(tmp_path, *arguments)

    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_an_mlflow_that_is_down_is_named(tmp_path: Path) -> None:
    """With the option that names another."""
    with pytest.raises(RegistryError, match="--tracking-uri"):
        fetch_bundle("models:/skin-lesion@champion", tracking_uri="http://127.0.0.1:9", into=tmp_path)


def test_a_java_runtime_is_there_without_one_on_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes with the Python packages."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)

    assert java_version(find_java()) >= 11


def test_a_java_that_does_not_run_is_refused(tmp_path: Path) -> None:
    """When it was named."""
    with pytest.raises(LesionError, match="11 or later"):
        find_java(tmp_path / "java")
