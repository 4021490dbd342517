"""The door of training."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lesion_core.processes import child_environment


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lesion_train", *arguments],
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_names_every_command_and_says_research_use_only() -> None:
    """Good enough to work from."""
    shown = run("--help").stdout

    assert "Research use only" in shown
    for command in ("fit", "register", "mlflow", "backbones", "synthetic", "data"):
        assert command in shown


def test_help_of_fit_explains_every_setting() -> None:
    """With its default."""
    shown = run("fit", "--help").stdout

    for option in ("--data", "--backbone", "--epochs", "--tracking-uri", "--validation-fraction"):
        assert option in shown
    assert "0.2" in shown


def test_backbones_lists_the_built_ins() -> None:
    """Through the entry point that a stranger uses."""
    shown = run("backbones").stdout

    for name in ("vit_tiny", "convnext_atto", "efficientnet_lite0"):
        assert name in shown


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["fit", "--data", "/nowhere"], "the folder does not exist"),
        (["register", "/nowhere"], "not a recorded run"),
        (["data", "check", "/nowhere"], "the folder does not exist"),
    ],
)
def test_a_named_error_is_one_sentence_and_exit_code_2(arguments: list[str], sentence: str) -> None:
    """No traceback."""
    done = run(*arguments)

    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
